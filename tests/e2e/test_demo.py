"""`scoregate demo`, and everything that it says to try: each line is run as it is printed, in a shell."""

import os
import re
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest

from harness.gate import BINARY, command, environment
from harness.until import until

SERVICES = ["aci-key", "aci-open", "aks-key", "aks-token", "online-entra", "online-key", "online-token"]
# A step of the tour and its lines.
STEP = re.compile(r"^ (\d+)\. (.*?)\n\n(.*?)(?=^ \d+\. |\Z)", re.M | re.S)
PATIENCE = 60


class Demo:
    """A demo whose output goes to a file, and the shell beside it."""

    def __init__(self, folder):
        self.folder = folder
        # Its files are to be found here, and nobody else's.
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        self.variables = environment() | {"TMPDIR": str(self.temporary)}
        with open(folder / "said", "wb") as said:
            self.process = subprocess.Popen(
                [BINARY, "demo"], stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=self.variables,
            )
        until(self.has_begun, "the tour begins")
        self.text = self.said()
        self.tour = self.text.split("For the lines below")[1].split("Ctrl-C ends")[0]
        self.settings = "\n".join(commands(self.tour.split("\n 1. ")[0]))
        self.steps = [commands(lines) for _, _, lines in STEP.findall(self.tour)]
        self.home = Path(re.search(r"^    DEMO=(\S+)$", self.text, re.M).group(1))

    def has_begun(self):
        assert self.process.poll() is None, f"the demo ended instead of beginning: {self.said()}"
        return "Ctrl-C ends the demo." in self.said()

    def said(self):
        return (self.folder / "said").read_text()

    def shell(self, lines):
        """What the lines print, in a folder that has nothing to do with them."""
        done = subprocess.run(
            ["bash", "-euc", "\n".join([self.settings, *lines])], stdin=subprocess.DEVNULL,
            capture_output=True, text=True, cwd="/", env=self.variables, timeout=PATIENCE,
        )
        assert done.returncode == 0, (lines, done.stdout, done.stderr)
        assert done.stderr == "", done.stderr
        return done.stdout

    def end(self, number=signal.SIGINT):
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def listens(self):
        """Every address that the process listens on."""
        sockets = set()
        for descriptor in Path(f"/proc/{self.process.pid}/fd").iterdir():
            target = os.readlink(descriptor)
            sockets.update(re.findall(r"socket:\[(\d+)\]", target))
        found = set()
        for table in ("tcp", "tcp6"):
            for line in Path(f"/proc/{self.process.pid}/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and fields[9] in sockets:
                    found.add(fields[1].split(":")[0])
        return found


def commands(text):
    """The lines to be copied: those that are indented."""
    return [line.removeprefix("    ") for line in text.splitlines() if line.startswith("    ")]


@pytest.fixture
def folder():
    """Short: the path of a socket may be no longer than a hundred bytes."""
    with tempfile.TemporaryDirectory(prefix="demo-") as folder:
        yield Path(folder)


@pytest.fixture
def demo(folder):
    demo = Demo(folder)
    yield demo
    demo.end()


def codes(printed):
    return [int(code) for code in re.findall(r" (\d{3})$", printed, re.M)]


def test_the_tour_is_true(demo):
    score, keys_apart, look, change, count = demo.steps

    assert codes(demo.shell(score)) == [200] * len(SERVICES)

    refused = demo.shell(keys_apart)
    assert codes(refused) == [401, 401] and "caller_unknown" in refused

    status, keys, token, check = (demo.shell([line]) for line in look)
    fingerprint = re.search(r"^aks-key +primary +(\S+)", keys, re.M).group(1)
    assert re.search(rf"^aks-key +yes +0 +primary +yes +{fingerprint} ", status, re.M), status
    assert all(re.search(rf"^{service} +yes ", status, re.M) for service in SERVICES), status
    assert "refresh_by:" in token and "--reveal" in token
    assert len(re.findall(r"^ok +endpoint", check, re.M)) >= 2 * len(SERVICES) and not re.search("^(problem|warning)", check, re.M)

    *before, after = change
    assert codes(demo.shell(before)) == [200], "nobody notices"
    until(lambda: re.search(r"^aks-key .* primary ", demo.shell([after]), re.M), "the gate still has its endpoint")
    until(lambda: fingerprint not in demo.shell([after]), "the gate has read the new key")

    counted = demo.shell(count)
    assert re.search(r'^scoregate_requests_total\{code_class="2xx".*route="online-entra"\} 1$', counted, re.M), counted
    assert re.search(r'^scoregate_replays_total\{endpoint="aks-key",result="accepted"\} 1$', counted, re.M), counted
    assert " 0\n" not in counted and '"outside_regenerations":1' in counted

    until(lambda: re.search(r"^answered \d+   refused or failed \d+   .* aks-token 1  ", demo.said(), re.M), "it counts")


def test_it_stays_on_loopback_and_leaves_nothing_behind(demo):
    assert demo.listens() == {"0100007F"}
    assert demo.home.parent == demo.temporary and demo.home.stat().st_mode & 0o777 == 0o700
    key = re.search(r"^    KEY=(\S+)$", demo.text, re.M).group(1)
    assert key not in "".join(file.read_text() for file in demo.home.iterdir() if file.is_file())
    assert demo.end() == 0
    assert demo.said().endswith("\nthe demo has ended\n")
    assert list(demo.temporary.iterdir()) == []


def test_what_it_runs_is_a_file_for_run(demo, tmp_path):
    """With another port, since the demo has this one."""
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", demo.home, copy], check=True, stderr=subprocess.DEVNULL)
    file = copy / "scoregate.yaml"
    done = command("check", "-c", file)
    assert (done.returncode, done.stderr) == (0, ""), done
    assert "token" in command("token", "online-token", "-c", file).stdout


def test_another_port_where_the_usual_one_is_taken(folder):
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", 8080))
            taken.listen()
        except OSError:
            pass  # Somebody else has it, which is what is wanted.
        demo = Demo(folder)
        try:
            assert "127.0.0.1:8080" not in demo.text
            assert codes(demo.shell(demo.steps[0])) == [200] * len(SERVICES)
        finally:
            assert demo.end(signal.SIGTERM) == 0


def test_it_ends_where_nobody_reads_it():
    process = subprocess.Popen(
        [BINARY, "demo"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(),
    )
    process.stdout.close()
    try:
        assert process.wait(PATIENCE) == 0
        assert process.stderr.read() == b""
    finally:
        process.kill()
        process.wait()
