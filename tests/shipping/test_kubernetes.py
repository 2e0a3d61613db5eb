"""What the issue of the manifests demands of each shape, read from what is rendered."""

import ipaddress
import json
import os
import re
import subprocess

import kubernetes_validate
import pytest
import yaml

from conftest import BINARY, CHART, KUBERNETES, ROLES, Shape, chart, helm, kustomize, rendered, shapes

# The oldest with native sidecars by default, and the newest whose schemas are here.
VERSIONS = ["1.29", "1.37"]
# The one kind that is not Kubernetes' own.
FOREIGN = {"ServiceMonitor"}
IMDS, WIRE_SERVER = "169.254.169.254", "168.63.129.16"


def seconds(span):
    amount, unit = re.fullmatch(r"(\d+)(s|m)", span).groups()
    return int(amount) * {"s": 1, "m": 60}[unit]


def known_of_endpoints():
    """The keys of an endpoint that this version knows."""
    schema = subprocess.run([BINARY, "schema"], capture_output=True, text=True, check=True).stdout
    return json.loads(schema)["$defs"]["Endpoint"]["properties"]


def without_rotation(text):
    config = yaml.safe_load(text)
    for endpoint in config["endpoints"].values():
        endpoint.pop("rotation", None)
    return json.dumps(config)


def selects(selector, labels):
    return all(labels.get(name) == value for name, value in selector.items())


# ---- every shape ----


@shapes()
@pytest.mark.parametrize("version", VERSIONS)
def test_everything_is_valid(shape, version):
    judged = 0
    for document in shape.documents:
        if document["kind"] not in FOREIGN:
            kubernetes_validate.validate(document, version, strict=True)
            judged += 1
    assert judged >= 4


@shapes()
def test_what_is_named_is_there(shape):
    names = {(document["kind"], document["metadata"]["name"]) for document in shape.documents}
    assert len(names) == len(shape.documents), "two of one name"
    if account := shape.pod().get("serviceAccountName"):
        assert ("ServiceAccount", account) in names
    for volume in shape.pod()["volumes"]:
        if "configMap" in volume:
            assert ("ConfigMap", volume["configMap"]["name"]) in names
        if "persistentVolumeClaim" in volume:
            assert ("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]) in names
    volumes = {volume["name"] for volume in shape.pod()["volumes"]}
    for container in shape.containers():
        assert {mount["name"] for mount in container.get("volumeMounts", [])} <= volumes
    assert selects(shape.deployment()["spec"]["selector"]["matchLabels"], shape.labels())
    for service in shape.all("Service"):
        assert selects(service["spec"]["selector"], shape.labels())
        for port in service["spec"]["ports"]:
            assert port["targetPort"] in shape.ports()


@shapes()
def test_the_gate_takes_its_configuration(shape, tmp_path):
    text = shape.config_text()
    if "rotation" not in known_of_endpoints():
        text = without_rotation(text)
    (tmp_path / "secrets/tls").mkdir(parents=True)
    (tmp_path / "secrets/callers").mkdir()
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                    "-subj", "/CN=gate", "-addext", "subjectAltName=DNS:gate", "-keyout", tmp_path / "secrets/tls/tls.key",
                    "-out", tmp_path / "secrets/tls/tls.crt"], check=True, capture_output=True)
    (tmp_path / "secrets/callers/team-a").write_text("0123456789abcdef0123456789abcdef")
    (tmp_path / "token").write_text("a token")
    (tmp_path / "scoregate.yaml").write_text(text.replace("/secrets/", f"{tmp_path}/secrets/"))
    variables = {"AZURE_CLIENT_ID": "c", "AZURE_TENANT_ID": "t", "AZURE_FEDERATED_TOKEN_FILE": str(tmp_path / "token")}
    checked = subprocess.run([BINARY, "check", "-c", tmp_path / "scoregate.yaml"], capture_output=True, text=True,
                             env=os.environ | variables)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "warning" not in (checked.stdout + checked.stderr).lower(), checked.stdout + checked.stderr


@shapes()
def test_probes_ask_the_health_listener(shape):
    gate = shape.gate()
    address = shape.config()["health"]["address"]
    assert shape.ports()["health"] == int(address.rsplit(":", 1)[1]) and address.startswith("0.0.0.0:")
    for probe, path in {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}.items():
        assert gate[probe]["httpGet"] == {"path": path, "port": "health"}


@shapes()
def test_nobody_sleeps_before_the_end_and_the_grace_is_long_enough(shape):
    timeouts = shape.config()["timeouts"]
    lame_duck, drain = seconds(timeouts["lame_duck"]), seconds(timeouts["drain"])
    needed = lame_duck + drain + 5
    if shape.role in ("egress", "guard"):
        assert lame_duck == 0, "a native sidecar ends when nobody is left to call it"
        # Kubernetes' default for those that end before it.
        needed += 30
    assert shape.pod()["terminationGracePeriodSeconds"] >= needed
    for container in shape.containers():
        assert "lifecycle" not in container


@shapes("egress", "guard")
def test_a_sidecar_is_a_native_one(shape):
    first = shape.pod()["initContainers"][0]
    assert (first["name"], first["restartPolicy"]) == ("scoregate", "Always")
    assert all(container["name"] != "scoregate" for container in shape.pod()["containers"])


@shapes()
def test_secrets_and_configuration_are_folders(shape):
    for volume in shape.pod()["volumes"]:
        assert not volume.get("secret", {}).get("items") and not volume.get("configMap", {}).get("items")
    for container in shape.containers():
        for mount in container.get("volumeMounts", []):
            assert "subPath" not in mount and "subPathExpr" not in mount
    # And the gate's secrets come from no variable, which could never change.
    assert "env" not in shape.gate() and "envFrom" not in shape.gate()
    assert "env:" not in shape.config_text() and "value:" not in shape.config_text()
    assert [document for document in shape.documents if document["kind"] == "Secret"] == []


@shapes()
def test_the_gate_may_do_nothing_that_it_need_not(shape):
    pod, own = shape.pod(), shape.gate()["securityContext"]
    context = pod.get("securityContext", {}) | own
    assert context["runAsNonRoot"] is True and context["runAsUser"] == 65532
    assert context["readOnlyRootFilesystem"] is True and context["allowPrivilegeEscalation"] is False
    assert context["capabilities"] == {"drop": ["ALL"]} and context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert "memory" in shape.gate()["resources"]["limits"], "limits.memory is a part of the cgroup's"
    for account in shape.all("ServiceAccount"):
        assert account["automountServiceAccountToken"] is False
    # What it writes to.
    writable = {mount["mountPath"] for mount in shape.gate()["volumeMounts"] if not mount.get("readOnly")}
    assert writable <= {"/run/scoregate", "/var/lib/scoregate"} and "/run/scoregate" in writable


@shapes()
def test_rotation_is_the_rotators_alone(shape):
    enabled = [name for name, endpoint in shape.config()["endpoints"].items() if endpoint.get("rotation", {}).get("enabled")]
    assert bool(enabled) == (shape.role == "rotator")


# ---- (a) egress ----


@shapes("egress")
def test_the_application_holds_no_secret(shape):
    metadata = shape.deployment()["spec"]["template"]["metadata"]
    assert metadata["labels"]["azure.workload.identity/use"] == "true"
    skipped = set(metadata["annotations"]["azure.workload.identity/skip-containers"].split(";"))
    assert skipped == {container["name"] for container in shape.others()} and skipped
    for container in shape.others():
        assert not container.get("volumeMounts") and not container.get("envFrom")
        assert all("valueFrom" not in variable for variable in container.get("env", []))
    account = shape.one("ServiceAccount")
    assert account["metadata"]["name"] == shape.pod()["serviceAccountName"]
    assert "azure.workload.identity/client-id" in account["metadata"]["annotations"]
    # Which the application could read in the sidecar's memory, or over its volumes.
    assert not shape.pod().get("shareProcessNamespace")
    config = shape.config()
    assert [list(identity) for identity in config["identities"].values()] == [["workload_identity"]]
    (listener,) = config["listeners"]
    assert listener["address"] == "127.0.0.1:8080" and "tls" not in listener
    (variable,) = [variable for variable in shape.others()[0]["env"] if variable["name"] == "SCORING_URI"]
    assert variable["value"].startswith("http://127.0.0.1:8080/")


@shapes("egress")
def test_the_machines_identity_is_out_of_reach(shape):
    policy = shape.one("NetworkPolicy")["spec"]
    assert selects(policy["podSelector"]["matchLabels"], shape.labels()) and "Egress" in policy["policyTypes"]

    def reachable(address):
        address = ipaddress.ip_address(address)
        blocks = [to["ipBlock"] for rule in policy["egress"] for to in rule.get("to", [{"ipBlock": {"cidr": "0.0.0.0/0"}}])
                  if "ipBlock" in to]
        return any(address in ipaddress.ip_network(block["cidr"])
                   and not any(address in ipaddress.ip_network(out) for out in block.get("except", [])) for block in blocks)

    assert not reachable(IMDS) and not reachable(WIRE_SERVER)
    assert reachable("20.42.1.2") and reachable("10.0.0.10") and reachable("169.254.20.10"), "the rest stays reachable"


def test_the_readme_says_what_a_policy_needs():
    text = (KUBERNETES / "README.md").read_text()
    assert "169.254.169.254" in text and "policy engine" in text and "walked around" in text


# ---- (b) guard ----


@shapes("guard")
def test_only_the_guards_port_is_admitted(shape):
    policy = shape.one("NetworkPolicy")["spec"]
    assert selects(policy["podSelector"]["matchLabels"], shape.labels()) and "Ingress" in policy["policyTypes"]
    admitted = [port["port"] for rule in policy["ingress"] for port in rule["ports"]]
    assert admitted == ["guard"] and all(rule["ports"] for rule in policy["ingress"])
    (listener,) = shape.config()["listeners"]
    assert {"name": "guard", "containerPort": int(listener["address"].rsplit(":", 1)[1])} in shape.gate()["ports"]
    assert all(port["targetPort"] == "guard" for service in shape.all("Service") for port in service["spec"]["ports"])
    for endpoint in shape.config()["endpoints"].values():
        assert all(upstream.startswith("http://127.0.0.1:") for upstream in endpoint["upstreams"])
    assert "tls" in listener and "anonymous" not in shape.config_text()


# ---- (c) gateway ----


@shapes("gateway")
def test_the_gateway_scales_and_survives_its_nodes(shape):
    deployment, name = shape.deployment(), shape.deployment()["metadata"]["name"]
    scaler = shape.one("HorizontalPodAutoscaler")["spec"]
    assert scaler["scaleTargetRef"]["name"] == name and scaler["minReplicas"] >= 2
    assert "replicas" not in deployment["spec"], "each apply would undo the autoscaler's work"
    assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    budget = shape.one("PodDisruptionBudget")["spec"]
    assert budget["maxUnavailable"] == 1 and selects(budget["selector"]["matchLabels"], shape.labels())
    spread = {one["topologyKey"]: one for one in shape.pod()["topologySpreadConstraints"]}
    assert set(spread) == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
    for one in spread.values():
        assert selects(one["labelSelector"]["matchLabels"], shape.labels()) and one["labelSelector"]["matchLabels"]


@shapes("gateway")
def test_the_gateway_is_open_where_it_must_be(shape):
    policy = shape.one("NetworkPolicy")["spec"]
    assert selects(policy["podSelector"]["matchLabels"], shape.labels())
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    open_to_all = [port["port"] for rule in policy["ingress"] if "from" not in rule for port in rule["ports"]]
    assert open_to_all == ["https"]
    for rule in policy["egress"]:
        for to in rule["to"]:
            if block := to.get("ipBlock"):
                assert f"{IMDS}/32" in block["except"]


@shapes("gateway")
def test_prometheus_finds_the_gateway(shape):
    monitor = shape.one("ServiceMonitor")
    assert monitor["apiVersion"] == "monitoring.coreos.com/v1" and set(monitor["spec"]) == {"selector", "endpoints"}
    (service,) = [service for service in shape.all("Service")
                  if selects(monitor["spec"]["selector"]["matchLabels"], service["metadata"]["labels"])]
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["path"] == "/metrics" and endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert service["spec"]["publishNotReadyAddresses"] is True


# ---- (d) rotator ----


@shapes("rotator")
def test_there_is_one_rotator_and_never_two(shape):
    spec = shape.deployment()["spec"]
    assert spec["replicas"] == 1 and spec["strategy"] == {"type": "Recreate"}
    claim = shape.one("PersistentVolumeClaim")
    assert claim["spec"]["accessModes"] == ["ReadWriteOncePod"]
    (volume,) = [volume for volume in shape.pod()["volumes"] if "persistentVolumeClaim" in volume]
    assert "emptyDir" not in volume
    (mount,) = [mount for mount in shape.gate()["volumeMounts"] if mount["name"] == volume["name"]]
    # The default state_dir, which nothing overrides.
    assert mount["mountPath"] == "/var/lib/scoregate" and "state_dir" not in shape.config()
    assert shape.all("Service") == [] and shape.all("HorizontalPodAutoscaler") == []
    assert all(listener["address"].startswith("127.0.0.1:") for listener in shape.config()["listeners"])
    assert shape.one("NetworkPolicy")["spec"]["ingress"] == []


@pytest.mark.parametrize("source", ["kustomize", "chart"])
def test_gateway_and_rotator_are_two_to_azure(source):
    accounts = {role: Shape(source, role).pod()["serviceAccountName"] for role in ("gateway", "rotator")}
    assert accounts["gateway"] != accounts["rotator"]


# ---- the tools themselves ----


def test_the_base_stands_alone():
    assert {document["kind"] for document in kustomize(KUBERNETES / "base")} == {"ServiceAccount", "Deployment"}


def test_all_shapes_go_together_in_one_namespace():
    for source in ("kustomize", "chart"):
        documents = [document for role in ROLES for document in rendered(source, role)]
        names = [(document["kind"], document["metadata"]["name"]) for document in documents]
        assert len(set(names)) == len(names)
    whole = chart(*(option for role in ROLES for option in ("-f", CHART / f"ci/{role}.yaml")))
    assert len(whole) == sum(len(rendered("chart", role)) for role in ROLES)


def test_the_chart_passes_its_own_linter():
    for role in ROLES:
        done = helm("lint", "--strict", CHART, "-f", CHART / f"ci/{role}.yaml")
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("options, complaint", [
    (["--set", "gateway.config.endpoints.iris.rotation.enabled=true"], "exactly one process may rotate a service"),
    (["--set", "gateway.config.endpoints=null"], "gateway.config has no endpoints"),
    (["--set", "gateway.replicaCount=3"], "replicaCount"),
    (["--set", "drainSeconds=soon"], "drainSeconds"),
])
def test_the_chart_refuses(options, complaint):
    done = helm("template", "release", CHART, "-f", CHART / "ci/gateway.yaml", *options)
    assert done.returncode != 0 and complaint in done.stderr, done.stderr


def test_grace_follows_the_time_outs():
    documents = chart("-f", CHART / "ci/gateway.yaml", "--set", "gateway.lameDuckSeconds=20,drainSeconds=120")
    (deployment,) = [document for document in documents if document["kind"] == "Deployment"]
    assert deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 145
    (config,) = [document for document in documents if document["kind"] == "ConfigMap"]
    assert re.search(r"drain: 120s\n\s+lame_duck: 20s", config["data"]["scoregate.yaml"])
