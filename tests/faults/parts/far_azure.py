"""mock-azure on a machine of its own, known by Azure's names."""

from harness.azure import Azure


class FarAzure(Azure):
    """The AKS service `iris`, in a network."""

    def __init__(self, network, folder):
        self.network = network
        self.wrapped = network.wrap("azure")
        self.options = ["--listen", f"{network.address['azure']}:0", "--listen-anywhere"]
        super().__init__(folder, learn_lag=(0, 0, 0), operation=0.2)
        for base, name in (("entra_tls", "login.microsoftonline.com"), ("arm_tls", "management.azure.com")):
            self.ports[base] = self.ports[base].replace("localhost", name)

    def ask(self, method, path, **more):
        # Its admin side is on its own loopback.
        with self.network.on("azure"):
            return super().ask(method, path, **more)

    def port(self, side):
        return int(self.ports[side].rsplit(":", 1)[1])

    def config(self, *arguments, **more):
        config = super().config(*arguments, **more)
        config["identities"]["default"]["cloud"]["audience"] = "https://management.azure.com/"
        return config
