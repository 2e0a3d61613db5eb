"""Upstreams that are slow, silent, reset, lie or half-close: the caller is told so in time, nobody else notices, and it heals.

Time-outs: connect 1 s, response head 2 s, a whole request 4 s, silence within an answer 2 s.
"""

import socket
import ssl
import time
from contextlib import ExitStack
from types import SimpleNamespace

import pytest
from harness import http1, secrets
from harness.until import until
from parts.peer import OK, Peer, Wire, large, says, usual
from parts.settings import two_endpoints
from parts.witness import Witness, ask, code_of, told

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n"
CHUNKS = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
CUT = "the answer is cut off, never ended as whole"
# What a busy machine adds to a time-out.
GRACE = 1.5


@pytest.fixture
def stage(config, gate, caller_key):
    """A gate between callers and two upstreams, of which one is at fault."""
    with ExitStack() as stack:
        faulty, well = stack.enter_context(Peer()), stack.enter_context(Peer())
        running = gate(two_endpoints(config, faulty.url(), well.url()))
        witness = stack.enter_context(Witness(running.port(), caller_key))
        yield SimpleNamespace(gate=running, port=running.port(), key=caller_key, peer=faulty, witness=witness)


def heals(stage):
    """The next request is served, and nothing of the last one is left."""
    stage.peer.script = usual
    answer, _ = ask(stage.port, stage.key, body=b"well again")
    assert (answer.status, answer.body) == (200, b"well again")
    until(lambda: in_flight(stage.gate) == 0, "nothing is left of the failed request")


def in_flight(running):
    lines = running.probe("/metrics")[1].splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith('scoregate_in_flight{endpoint="faulty"'))


def endless_head(wire):
    wire.request()
    wire.send(b"HTTP/1.1 200 OK\r\n")
    wire.drip(b"x-a: b\r\n" * 100, 0)


def half_closes_early(wire):
    """Ends its side while it is sent an upload."""
    wire.request_head()
    wire.no_more()
    wire.until_end()


def reads_too_late(wire):
    """Begins to read when the gate has given up."""
    time.sleep(5)
    wire.request()


HINTS = b"HTTP/1.1 103 Early Hints\r\n\r\n"
TIMEOUT, PROTOCOL = (504, "upstream_timeout"), (502, "upstream_protocol_error")
ANSWERED = [
    # The fault, its script, the answer, not before and not after so many seconds.
    ("silent upstream", says(), TIMEOUT, 2, 2),
    ("head of the answer by the byte", says(b"HTTP/1.1 200 OK\r\nx: ", then=lambda wire: wire.drip(b"y", 0.1)), TIMEOUT, 2, 2),
    ("103 now and then, for ever", says(then=lambda wire: wire.drip(HINTS, 0.3)), TIMEOUT, 2, 2),
    ("103 without a pause", says(then=lambda wire: wire.drip(HINTS, 0)), PROTOCOL, 0, 0),
    ("upload that is not read", reads_too_late, TIMEOUT, 2, 2),
    ("reset instead of an answer", says(then=Wire.reset), PROTOCOL, 0, 0),
    ("end instead of an answer", says(then=Wire.end), PROTOCOL, 0, 0),
    ("half-close instead of an answer", says(then=lambda wire: (wire.no_more(), wire.until_end())), PROTOCOL, 0, 0),
    ("half-close during the upload", half_closes_early, PROTOCOL, 0, 0),
    ("reset within the head", says(b"HTTP/1.1 200 OK\r\nx-a:", then=Wire.reset), PROTOCOL, 0, 0),
    ("no HTTP at all", says(b"SSH-2.0-OpenSSH_9.2\r\n"), PROTOCOL, 0, 0),
    ("two lengths that differ", says(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok!"), PROTOCOL, 0, 0),
    ("head without an end", endless_head, PROTOCOL, 0, 1),
]
UPLOAD = bytes(8 << 20)


@pytest.mark.parametrize("fault, script, expected, earliest, latest", ANSWERED, ids=[line[0] for line in ANSWERED])
def test_the_caller_gets_an_answer_of_the_gates(stage, found, fault, script, expected, earliest, latest):
    stage.peer.script = script
    body = UPLOAD if "upload" in fault else b"{}"
    with stage.witness.unharmed():
        answer, took = answer_to(stage, body)
        assert (answer.status, code_of(answer)) == expected
        assert earliest - 0.1 <= took <= latest + GRACE, f"after {took:.2f} s"
        assert stage.peer.requests <= 1, "a request that may have run was sent again"
        until(lambda: not stage.peer.connections(), "its connection is let go")
        assert stage.peer.whole == ("upload" not in fault), "an upload that was given up looks whole"
        heals(stage)
    found(fault, f"{expected[0]} `{expected[1]}`" + {0: " at once", 1: " within 1 s"}.get(latest, " after 2 s") + ", sent once",
          f"{answer.status} after {told(took)}; others {told(stage.witness.slowest)} at most")


def answer_to(stage, body):
    """An upload may be refused before its end: whoever sends it has to look."""
    began = time.monotonic()
    with http1.Connection(stage.port) as connection:
        connection.send(connection.head("POST", "/faulty", [("authorization", f"Bearer {stage.key}")], len(body)))
        connection.wire.sock.settimeout(0.1)
        left = memoryview(body)
        while left:
            try:
                left = left[connection.wire.sock.send(left[:65536]) :]
            except TimeoutError:
                # Nobody reads; is there an answer?
                try:
                    connection.more()
                    break
                except TimeoutError:
                    continue
            except OSError:
                break
        connection.wire.sock.settimeout(30)
        while (answer := connection.response_head()).status < 200:
            pass
        answer.body = b"".join(connection.body_of(answer))
        return answer, time.monotonic() - began


BROKEN_OFF = [
    ("body that stops", says(HEAD + b"hello", then=Wire.until_end), 2, 2),
    ("chunks that stop", says(CHUNKS + b"5\r\nhello\r\n", then=Wire.until_end), 2, 2),
    ("body shorter than it said", says(HEAD + b"hello", then=Wire.end), 0, 0),
    ("half-close within the body", says(HEAD + b"hello", then=lambda wire: (wire.no_more(), wire.until_end())), 0, 0),
    ("reset within the body", says(HEAD + b"hello", pause=0.2, then=Wire.reset), 0, 1),
    ("end within the chunks", says(CHUNKS + b"5\r\nhello\r\n", then=Wire.end), 0, 0),
    ("a chunk that lies about its size", says(CHUNKS + b"5\r\nhello and more\r\n0\r\n\r\n"), 0, 0),
]


@pytest.mark.parametrize("fault, script, earliest, latest", BROKEN_OFF, ids=[line[0] for line in BROKEN_OFF])
def test_a_broken_answer_is_cut_off(stage, found, fault, script, earliest, latest):
    stage.peer.script = script
    with stage.witness.unharmed():
        began = time.monotonic()
        with http1.Connection(stage.port) as connection:
            connection.send(connection.head("GET", "/faulty", [("authorization", f"Bearer {stage.key}")]))
            with pytest.raises(http1.Closed) as closed:
                answer = connection.response("GET")
                pytest.fail(f"taken for whole: {answer.status} {answer.body!r}")
        took = time.monotonic() - began
        assert b"\r\n0\r\n" not in closed.value.answered
        assert earliest - 0.1 <= took <= latest + GRACE, f"after {took:.2f} s"
        heals(stage)
    found(fault, CUT, f"cut off after {told(took)}")


def test_what_follows_a_whole_answer_is_nobodys(stage, found):
    """More than the length said: the caller gets what was said, the rest is dropped with its connection."""
    stage.peer.script = says(OK + b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nstolen")
    with stage.witness.unharmed(), http1.Connection(stage.port) as connection:
        fields = [("authorization", f"Bearer {stage.key}")]
        for _ in range(5):
            assert connection.request("GET", "/faulty", fields).body == b"ok"
        heals(stage)
    found("answer longer than it said", "the caller gets what was said; the rest is dropped with its connection",
          "5 of 5 so, none got another's")


def test_an_answer_before_the_uploads_end_is_passed_on(stage, found):
    refusal = b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 3\r\nconnection: close\r\n\r\nno!"

    def refuses(wire):
        wire.request_head()
        wire.send(refusal)
        wire.hold()

    stage.peer.script = refuses
    with stage.witness.unharmed():
        answer, took = answer_to(stage, UPLOAD)
        assert (answer.status, answer.body) == (413, b"no!")
        assert took < GRACE
        heals(stage)
    found("answer before the upload's end", "passed on at once", f"413 after {told(took)}")


def test_a_half_close_behind_a_whole_answer_is_an_end(stage, found):
    def half_closes(wire):
        wire.request()
        wire.send(OK)
        wire.no_more()
        wire.until_end()

    stage.peer.script = half_closes
    with stage.witness.unharmed():
        for _ in range(10):
            # Nobody can know of a FIN that comes behind the next request, so one that may run twice.
            answer, _ = ask(stage.port, stage.key, method="GET", body=None)
            assert (answer.status, answer.body) == (200, b"ok")
        # What heals is a POST, which may not run into a FIN that is still on its way.
        until(lambda: not stage.peer.connections(), "the connections are gone")
        heals(stage)
    found("half-close behind an answer", "200; the connection is not used again", "10 of 10")


def test_a_kept_connection_that_dies_costs_an_idempotent_request_nothing(stage, found):
    """RFC 9110 9.2.2: a GET may be sent again; a POST that may have run may not."""
    ended = []

    def answers_once(wire):
        wire.request()
        wire.send(OK)
        wire.request_head()
        ended.append(wire.head.split()[0])
        wire.reset()

    stage.peer.script = answers_once
    with stage.witness.unharmed():
        # Each worker keeps connections of its own.
        statuses = {ask(stage.port, stage.key, method="GET", body=None)[0].status for _ in range(8)}
        assert statuses == {200} and "get" in ended
        stage.peer.drop_all()
        until(lambda: not stage.peer.connections(), "the connections are gone")
        statuses = set()
        for _ in range(8):
            answer, _ = ask(stage.port, stage.key)
            statuses.add((answer.status, code_of(answer)))
        assert statuses <= {(200, None), PROTOCOL} and PROTOCOL in statuses
        assert "post" in ended
        # What is kept now would end the same way.
        stage.peer.drop_all()
        until(lambda: not stage.peer.connections(), "the connections are gone")
        heals(stage)
    found("kept connection that resets under a request", "GET is sent again: 200; POST is not: 502", "200 and 502")


def test_a_slow_answer_that_goes_on_is_passed_on(stage, found):
    """Models stream their words: no silence is longer than `stream_idle`, the whole is longer than every other time-out."""
    def streams(wire):
        wire.request()
        wire.send(CHUNKS, *[b"4\r\nword\r\n"] * 10, pause=0.5)
        wire.send(b"0\r\n\r\n")

    stage.peer.script = streams
    with stage.witness.unharmed():
        answer, took = ask(stage.port, stage.key)
        assert answer.body == b"word" * 10
        assert took > 5
        heals(stage)
    found("slow answer", "passed on to its end", f"whole after {told(took)}")


def unreachable(name):
    """A port that refuses, or whose queue is full so that nobody is answered."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=0)
    port = listener.getsockname()[1]
    if name == "refuses":
        listener.close()
        return port, []
    fills = []
    for _ in range(4):
        fill = socket.socket()
        fill.setblocking(False)
        fill.connect_ex(("127.0.0.1", port))
        fills.append(fill)
    return port, [listener, *fills]


@pytest.mark.parametrize("how, latest", [("refuses", 0), ("does not answer", 1)])
def test_an_upstream_that_cannot_be_reached(config, gate, caller_key, found, how, latest):
    port, kept = unreachable(how)
    with Peer() as well:
        running = gate(two_endpoints(config, f"http://127.0.0.1:{port}/score", well.url()))
        with Witness(running.port(), caller_key) as witness, witness.unharmed():
            answer, took = ask(running.port(), caller_key)
            assert (answer.status, code_of(answer)) == (502, "upstream_unreachable")
            assert latest - 0.1 <= took <= latest + GRACE
            for one in kept:
                one.close()
            with Peer(made=socket.create_server(("127.0.0.1", port))):
                until(lambda: ask(running.port(), caller_key)[0].status == 200, "it is reached once it is there", 5)
    found(f"connection that the upstream {how}", f"502 `upstream_unreachable` {f'after {latest} s' if latest else 'at once'}",
          f"502 after {told(took)}; served again at once")


def never_shakes_hands(wire):
    wire.until_end()


def plain_over_tls(wire):
    wire.more()
    wire.send(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
    wire.end()


@pytest.mark.parametrize("fault, script, earliest, latest", [
    ("TLS upstream that never shakes hands", never_shakes_hands, 1, 1),
    ("TLS upstream that speaks plain HTTP", plain_over_tls, 0, 0),
    ("TLS upstream with another's certificate", None, 0, 0),
])
def test_tls_that_does_not_come_about(config, gate, caller_key, pki, found, fault, script, earliest, latest):
    def another(wire):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pki.cert, pki.key)
        with context.wrap_socket(wire.sock, server_side=True) as tls:
            tls.recv(1)

    with Peer(script or another) as faulty, Peer() as well:
        # Signed by an authority of ours, which is not among those of the machine.
        running = gate(two_endpoints(config, faulty.url(scheme="https"), well.url()))
        with Witness(running.port(), caller_key) as witness, witness.unharmed():
            answer, took = ask(running.port(), caller_key)
            assert (answer.status, code_of(answer)) == (502, "upstream_unreachable")
            assert earliest - 0.1 <= took <= latest + GRACE
            assert not faulty.requests
        secrets.assert_none_in(running.stderr(), "the log")
    found(fault, f"502 `upstream_unreachable`{' after 1 s' if latest else ''}, and no key leaves", f"502 after {told(took)}")


def test_a_hundred_silent_requests_harm_nobody_else(stage, found):
    """The endpoint at fault is full of requests that wait; the one beside it is served as ever."""
    stage.peer.script = says()
    with stage.witness.unharmed():
        with ExitStack() as stack:
            waiting = []
            for _ in range(100):
                connection = stack.enter_context(http1.Connection(stage.port))
                connection.send(connection.head("GET", "/faulty", [("authorization", f"Bearer {stage.key}")]))
                waiting.append(connection)
            statuses = {connection.response("GET").status for connection in waiting}
        assert statuses == {504}
        heals(stage)
    found("100 requests at a silent upstream", "504 each; other endpoints as ever",
          f"504 each; others {told(stage.witness.slowest)} at most")


def test_an_endless_answer_to_a_caller_that_left_is_let_go(stage, found):
    stage.peer.script = large
    with stage.witness.unharmed():
        with http1.Connection(stage.port) as connection:
            connection.send(connection.head("GET", "/faulty", [("authorization", f"Bearer {stage.key}")]))
            connection.response_head()
        began = time.monotonic()
        until(lambda: not stage.peer.connections(), "the upstream's connection is let go", 5)
        took = time.monotonic() - began
        heals(stage)
    found("caller that leaves within an answer", "the upstream's connection is let go", f"after {told(took)}")
