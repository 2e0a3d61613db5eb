"""The real binary, run as a user runs it: a configuration file, a process, signals, and the commands beside it."""

import json
import os
import re
import signal
import socket
import subprocess
from pathlib import Path

from . import processes, secrets
from .until import until

ROOT = Path(__file__).resolve().parents[3]
BINARY = Path(os.environ.get("SCOREGATE_BINARY", ROOT / "target/release/scoregate"))
# A process that ignores its signals must not hold the run up for ever.
LAST_PATIENCE = 60


def environment():
    """The variables of a process that shall not see what the developer has set for a scoregate of their own."""
    return {name: value for name, value in os.environ.items() if not name.startswith("SCOREGATE")}


def command(*arguments, cwd=None):
    """Runs a command of the binary to its end. Whatever it says is searched for keys."""
    done = subprocess.run(
        [BINARY, *map(str, arguments)],
        capture_output=True, stdin=subprocess.DEVNULL, cwd=cwd, env=environment(), timeout=120,
    )
    done.stdout, done.stderr = done.stdout.decode(), done.stderr.decode()
    secrets.assert_none_in(done.stdout + done.stderr, f"what `scoregate {arguments[0]}` says")
    return done


class Gate:
    """`scoregate run` with a configuration of its own, in a folder of its own.

    Every address is port 0; what the gate got is asked over its admin socket and read from its log.
    """

    # Those that were launched in this test; the fixture that searches what they said empties it.
    launched = []

    def __init__(self, folder, config):
        self.folder = Path(folder)
        self.config = {
            "version": 1,
            "state_dir": str(self.folder / "state"),
            "admin": {"socket": str(self.folder / "admin.sock")},
            "health": {"address": "127.0.0.1:0"},
            "timeouts": {"lame_duck": "0s"},
            "log": {"level": "debug", "access": "all"},
        } | config
        self.file = self.folder / "gate.yaml"
        self.process = None
        # As a service manager hands them over: sockets by name, and more variables.
        self.handed = {}
        self.variables = {}
        # What the command is run by.
        self.wrapped = []

    # ---- its life ----

    def start(self):
        # It may have been started before.
        before = len(self.healths())
        self.write()
        self.launch()
        until(self.is_up, f"the gate is up; it said {self.stderr()[-2000:]}")
        self.addresses = {
            one["name"]: self.port_of(one["address"]) for one in self.status()["listeners"]
        }
        # What it says is written by a thread of its own, so perhaps later than it answers.
        *_, health = until(lambda: self.healths()[before:], "its health address is in the log")
        self.health = self.port_of(health)
        return self

    def healths(self):
        """What it has said of its health address."""
        if not (self.folder / "stderr").exists():
            return []
        return [found.group(0) for found in re.finditer(r'"address":"([^"]+)","message":"health"|"health".*?"address":"([^"]+)"', self.stderr())]

    def launch(self):
        """Starts the process without waiting for it."""
        (self.folder / "state").mkdir(exist_ok=True)
        if self not in Gate.launched:
            Gate.launched.append(self)
        with open(self.folder / "stdout", "ab") as out, open(self.folder / "stderr", "ab") as err:
            self.process = subprocess.Popen(
                self.as_handed([BINARY, "run", "-c", self.file]), stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                env=environment() | self.variables, pass_fds=[socket.fileno() for socket in self.handed.values()],
            )

    def as_handed(self, arguments):
        """The command, with the sockets from descriptor 3 on and the variables of sd_listen_fds(3)."""
        arguments = [*self.wrapped, *arguments]
        if not self.handed:
            return arguments
        # Out of each other's way first.
        away = " ".join(f"{100 + at}<&{socket.fileno()}" for at, socket in enumerate(self.handed.values()))
        home = " ".join(f"{3 + at}<&{100 + at}" for at in range(len(self.handed)))
        variables = f"LISTEN_PID=$$ LISTEN_FDS={len(self.handed)} LISTEN_FDNAMES={':'.join(self.handed)}"
        return ["bash", "-c", f'exec {away}; exec {home}; {variables} exec "$@"', "gate", *arguments]

    def is_up(self):
        code = self.process.poll()
        assert code is None, f"the gate ended with {code} instead of serving: {self.stderr()[-2000:]}"
        return (self.folder / "admin.sock").exists() and self.cli("status").returncode == 0

    def write(self):
        """JSON is YAML. Replaced as a whole, as editors do."""
        beside = self.folder / "gate.yaml.new"
        beside.write_text(json.dumps(self.config, indent=1))
        beside.rename(self.file)

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self):
        """Its exit code, once it has ended."""
        return self.process.wait(timeout=LAST_PATIENCE)

    def stop(self):
        """Ends it as its supervisor would, and looks for keys in everything it has said."""
        if self.process is None:
            return
        try:
            if self.process.poll() is None:
                self.search()
                self.signal(signal.SIGTERM)
                self.wait()
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
        self.search_logs()

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    # ---- what it says ----

    def cli(self, *arguments):
        """A command that asks this gate."""
        return command(*arguments, "--admin", self.folder / "admin.sock")

    def status(self):
        done = self.cli("status", "--output", "json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def reload(self, *options):
        """`scoregate reload`, which must be taken."""
        done = self.cli("reload", "--output", "json", *options)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def port(self, listener="local"):
        return self.addresses[listener]

    def stdout(self):
        return (self.folder / "stdout").read_text()

    def stderr(self):
        return (self.folder / "stderr").read_text()

    def probe(self, path):
        """Status and body of a path of the health address; None where nobody listens."""
        return ask(("127.0.0.1", self.health), path)

    def metric(self, name):
        """The sum of a metric over its labels."""
        lines = [line for line in self.probe("/metrics")[1].splitlines() if re.match(rf"{name}[{{ ]", line)]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    def search(self):
        """No key is in anything that it answers."""
        socket_path = str(self.folder / "admin.sock")
        self.note_own()
        for path in ("/status", "/config", "/metrics", "/readyz?verbose"):
            answer = ask(socket_path, path)
            assert answer, f"the admin socket does not answer {path}"
            secrets.assert_none_in(answer[1], path)
        self.cli("status")

    def search_logs(self):
        """No key is in anything that it has written, and in no file that it keeps but its token's."""
        self.note_own()
        secrets.assert_none_in(self.stdout(), "standard output")
        secrets.assert_none_in(self.stderr(), "standard error")
        for path in (self.folder / "state").rglob("*"):
            if path.is_file() and path.name != "admin.token":
                secrets.assert_none_in(path.read_bytes(), f"the state file {path.name}")

    def note_own(self):
        """The token that it made for itself."""
        token = self.folder / "state/admin.token"
        if token.exists():
            secrets.note(token.read_text().strip(), "the admin token")

    # ---- what it takes ----

    def post(self, path):
        """POST to the admin socket, without the cost of a process: status and body."""
        return ask(str(self.folder / "admin.sock"), path, "POST")

    def memory(self, field):
        """`VmRSS` or `VmHWM`, in bytes."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"^{field}:\s+(\d+) kB", text, re.M).group(1)) * 1024

    def forget_peak(self):
        """`VmHWM` counts from here."""
        processes.forget_peak(self.process.pid)

    @staticmethod
    def port_of(address):
        """None where the address has none."""
        found = re.search(r":(\d+)\D*$", address)
        return found and int(found.group(1))


def ask(address, path, method="GET"):
    """Over TCP or a Unix socket: status and body; None where nobody listens."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as sock:
        sock.settimeout(30)
        try:
            sock.connect(address)
        except (ConnectionRefusedError, FileNotFoundError):
            return None
        sock.sendall(f"{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode())
        answer = b""
        while piece := sock.recv(65536):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower(), "the admin side sends its answers whole"
    return int(head.split()[1]), body.decode()
