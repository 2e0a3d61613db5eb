"""Steady load over kept connections: one thread each, every answer checked, every failure told."""

import threading

from . import http1, http2


class Load:
    """Callers that ask again and again until told to stop; over h2 several streams at once.

    Each body is different, and the answer must be the body itself.
    """

    def __init__(self, key, path="/score"):
        self.headers = [("authorization", f"Bearer {key}")]
        self.path = path
        self.threads = []
        self.stopping = threading.Event()
        self.lock = threading.Lock()
        self.answered = 0
        self.failures = []
        self.endings = []

    def h1(self, port, connections, tls=None):
        for number in range(connections):
            self.spawn(self.ask_h1, port, tls, f"h1-{number}")

    def h2(self, port, connections, streams, tls=None):
        for number in range(connections):
            self.spawn(self.ask_h2, port, tls, f"h2-{number}", streams)

    def spawn(self, ask, *arguments):
        def run():
            try:
                ask(*arguments)
            except Exception as problem:
                self.fail(f"{arguments[2]}: {problem!r}")

        self.threads.append(threading.Thread(target=run))
        self.threads[-1].start()

    def stop(self):
        """Lets every caller have its last answer."""
        self.stopping.set()
        self.join()

    def join(self):
        for thread in self.threads:
            thread.join(120)
            assert not thread.is_alive(), "a caller waits for ever"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def ok(self):
        with self.lock:
            self.answered += 1

    def fail(self, what):
        with self.lock:
            self.failures.append(what)

    def ended(self, how):
        with self.lock:
            self.endings.append(how)

    def ask_h1(self, port, tls, name):
        with http1.Connection(port, tls) as connection:
            count = 0
            while not self.stopping.is_set():
                count += 1
                body = f"{name} {count}".encode()
                try:
                    answer = connection.request_unless_closed("POST", self.path, self.headers, body)
                except http1.Closed as closed:
                    return self.fail(f"{name}: request {count}: {closed}")
                if answer is None:
                    return self.ended("closed between two requests")
                if (answer.status, answer.body) != (200, body):
                    return self.fail(f"{name}: request {count}: {answer.status} {answer.body[:200]!r}")
                self.ok()
                if answer.says_close():
                    connection.end()
                    return self.ended("told with the last answer")
        self.ended("stopped")

    def ask_h2(self, port, tls, name, at_once):
        with http2.Connection(port, tls) as connection:
            count, open_streams = 0, []
            while True:
                while len(open_streams) < at_once and connection.may_begin() and not self.stopping.is_set():
                    count += 1
                    body = f"{name} {count}".encode()
                    open_streams.append((connection.begin("POST", self.path, self.headers, body), body))
                if not open_streams:
                    break
                connection.pump(1)
                for stream, body in open_streams:
                    if stream.done or connection.closed:
                        got = (stream.done, stream.reset, stream.status, stream.content)
                        if got == (True, None, 200, body):
                            self.ok()
                        else:
                            self.fail(f"{name}: stream {stream.source}: {got}, connection {connection.closed}, "
                                      f"goaway {connection.goaway}")
                if connection.closed:
                    break
                open_streams = [(stream, body) for stream, body in open_streams if not stream.done]
            if connection.goaway:
                connection.run(lambda: False)
                if connection.closed != "clean":
                    self.fail(f"{name}: the connection was {connection.closed}")
                if any(code for _, code in connection.goaway):
                    self.fail(f"{name}: {connection.goaway}")
                return self.ended("told by GOAWAY")
        self.ended("stopped" if self.stopping.is_set() else "closed without GOAWAY")
