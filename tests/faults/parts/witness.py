"""Other traffic: callers of another endpoint who must not notice that anything is wrong."""

import contextlib
import json
import socket
import threading
import time

from harness import http1

# On two cores that others use as well: whoever waits for longer than this has been held up by more than them.
BOUND = 2.5
EVERY = 0.02


class Witness:
    """Asks over a kept connection and over new ones, all the time; every answer must be 200 with the body that was sent."""

    def __init__(self, port, key, path="/well", connect=None):
        self.port, self.path = port, path
        self.headers = [("authorization", f"Bearer {key}")] if key else []
        self.connect = connect or (lambda: http1.Connection(port))
        self.slowest, self.answered, self.failures = 0.0, 0, []
        self.stopping = threading.Event()
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.run, args=(kept,)) for kept in (True, False)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join(60)

    def run(self, kept):
        connection, count = None, 0
        while not self.stopping.wait(EVERY):
            count += 1
            began, failure = time.monotonic(), None
            try:
                connection = connection or self.connect()
                body = b"witness %d" % count
                answer = connection.request("POST", self.path, self.headers, body)
                if (answer.status, answer.body) != (200, body):
                    failure = f"{answer.status} {answer.body[:200]!r}"
                if not kept:
                    connection.close()
                    connection = None
            except (OSError, http1.Closed) as problem:
                failure, connection = repr(problem), None
            with self.lock:
                self.answered += 1
                self.slowest = max(self.slowest, time.monotonic() - began)
                if failure:
                    self.failures.append(f"{'a kept' if kept else 'a new'} connection, request {count}: {failure}")

    @contextlib.contextmanager
    def unharmed(self, bound=BOUND):
        """Whatever happens within: nobody else fails, or waits for long."""
        with self.lock:
            self.slowest, self.answered = 0.0, 0
        yield self
        # The last word of whoever waits now.
        deadline = time.monotonic() + bound + 5
        while self.answered < 4 and time.monotonic() < deadline:
            time.sleep(EVERY)
        with self.lock:
            assert not self.failures, f"other traffic is harmed: {self.failures[:5]}"
            assert self.answered >= 4, "other traffic stands still"
            assert self.slowest < bound, f"other traffic waited {self.slowest:.2f} s"


def ask(port, key, path="/faulty", method="POST", body=b"{}", headers=()):
    """One request on a connection of its own: the answer, and the seconds that it took."""
    began = time.monotonic()
    fields = [("authorization", f"Bearer {key}"), *headers] if key else list(headers)
    with http1.Connection(port) as connection:
        answer = connection.request(method, path, fields, body)
    return answer, time.monotonic() - began


def code_of(answer):
    """The code of an answer of the gate's own; None where it is the upstream's."""
    if answer.header("server") != "scoregate":
        return None
    return json.loads(answer.body)["error"]["code"]


def told(seconds):
    """A time, as it stands in the table."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def is_closed(sock):
    """Whether the other side has ended this connection."""
    try:
        return sock.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
