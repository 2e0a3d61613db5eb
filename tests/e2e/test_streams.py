"""What stays open: gRPC of all four kinds, WebSockets, server-sent events; over plain and TLS, through a reload that is not theirs."""

import contextlib
import threading
import time
from concurrent import futures

import grpc
import pytest
import websockets.sync.client
import websockets.sync.server

from harness import http1, http2
from harness.until import until
from harness.upstream import Upstream

# Seconds between two events: longer than the stall time-out, which is 1 s here and the default of 30 s in the long run.
EVERY = 1.5
EVERY_FULL = 40


@pytest.fixture(params=["plain", "tls"])
def tls(request):
    return request.param == "tls"


def reload_of_others(running):
    """A reload that concerns neither the route nor the endpoint of what is open."""
    running.config["routes"].append({"match": {"path_prefix": f"/closed-{len(running.config['routes'])}"}, "deny": True})
    running.write()
    running.reload()


# ---- gRPC ----


class Echo(grpc.GenericRpcHandler):
    """`/test.Echo/…`: unary, client streaming, server streaming, both; with trailers of its own. Bytes as they are."""

    def __init__(self, key):
        self.key = key
        self.cancelled = threading.Event()
        self.deadlines = []

    def service(self, details):
        metadata = dict(details.invocation_metadata)
        assert metadata.get("te", "trailers") == "trailers"

        def admitted(context):
            if dict(context.invocation_metadata()).get("authorization") != f"Bearer {self.key}":
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "the service demands its key")
            context.set_trailing_metadata([("x-count", str(len(self.deadlines))), ("x-bin", b"\x00\x01")][:1])
            self.deadlines.append(context.time_remaining())

        def one_one(request, context):
            admitted(context)
            if request == b"fail":
                context.abort(grpc.StatusCode.FAILED_PRECONDITION, "as asked")
            return request

        def many_one(requests, context):
            admitted(context)
            return b"".join(requests)

        def one_many(request, context):
            admitted(context)
            context.add_callback(self.cancelled.set)
            count = int(request)
            for number in range(count if count else 1 << 30):
                if not context.is_active():
                    return
                yield b"%d" % number
                if not count:
                    time.sleep(0.01)

        def many_many(requests, context):
            admitted(context)
            yield from requests

        kinds = {
            "OneOne": grpc.unary_unary_rpc_method_handler(one_one),
            "ManyOne": grpc.stream_unary_rpc_method_handler(many_one),
            "OneMany": grpc.unary_stream_rpc_method_handler(one_many),
            "ManyMany": grpc.stream_stream_rpc_method_handler(many_many),
        }
        return kinds.get(details.method.rsplit("/", 1)[1])


@pytest.fixture
def echo(service_key, pki, tls):
    """The service, over TLS where the caller's side is."""
    handler = Echo(service_key.read_text().strip())
    server = grpc.server(futures.ThreadPoolExecutor(8), handlers=[handler])
    if tls:
        credentials = grpc.ssl_server_credentials([(pki.key.read_bytes(), pki.cert.read_bytes())])
        port = server.add_secure_port("127.0.0.1:0", credentials)
        handler.endpoint = {"upstreams": [f"https://localhost:{port}/"], "upstream": {"tls": {"ca": str(pki.ca)}}}
    else:
        port = server.add_insecure_port("127.0.0.1:0")
        handler.endpoint = {"upstreams": [f"http://127.0.0.1:{port}/"], "upstream": {"protocol": "h2c"}}
    server.start()
    yield handler
    server.stop(None).wait()


@pytest.fixture
def channel(echo, config, gate, pki, tls, service_key):
    """A channel to the gate in front of it."""
    settings = config("http://127.0.0.1:9/")
    settings["endpoints"]["model"] = echo.endpoint | {"keys": {"primary": {"file": str(service_key)}}}
    running = gate(settings)
    address = f"localhost:{running.port('tls' if tls else 'local')}"
    options = [("grpc.enable_retries", 0)]
    made = grpc.secure_channel(address, grpc.ssl_channel_credentials(pki.ca.read_bytes()), options) if tls \
        else grpc.insecure_channel(address, options)
    with made as channel:
        channel.gate = running
        yield channel


def test_grpc_of_all_four_kinds(channel, echo, caller_key):
    key = [("authorization", f"Bearer {caller_key}")]
    answer, call = channel.unary_unary("/test.Echo/OneOne").with_call(b"hello", metadata=key, timeout=30)
    assert answer == b"hello"
    assert dict(call.trailing_metadata())["x-count"] == "0"
    assert 0 < echo.deadlines[-1] <= 30, "the deadline reaches the service"
    assert channel.stream_unary("/test.Echo/ManyOne")(iter([b"a", b"b", b"c"]), metadata=key) == b"abc"
    assert list(channel.unary_stream("/test.Echo/OneMany")(b"100", metadata=key)) == [b"%d" % n for n in range(100)]

    # Both at once: each message is answered before the next is sent, over a reload.
    turn = threading.Semaphore(1)

    def messages():
        for number in range(5):
            assert turn.acquire(timeout=30)
            yield b"%d" % number

    answers = channel.stream_stream("/test.Echo/ManyMany")(messages(), metadata=key)
    for number in range(5):
        assert next(answers) == b"%d" % number
        if number == 2:
            reload_of_others(channel.gate)
        turn.release()
    assert list(answers) == []
    assert answers.code() == grpc.StatusCode.OK


def test_grpc_failures_are_those_of_grpc(channel, echo, caller_key):
    key = [("authorization", f"Bearer {caller_key}")]
    ask = channel.unary_unary("/test.Echo/OneOne")
    with pytest.raises(grpc.RpcError) as failed:
        ask(b"fail", metadata=key)
    assert (failed.value.code(), failed.value.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "as asked")
    # Ours: trailers only, with gRPC's own word for it.
    with pytest.raises(grpc.RpcError) as refused:
        ask(b"hello", metadata=[("authorization", "Bearer wrong")])
    assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
    assert "no valid credential" in refused.value.details()
    assert dict(refused.value.trailing_metadata() or refused.value.initial_metadata())["server"] == "scoregate"
    # A deadline that passes, and a caller that has enough.
    with pytest.raises(grpc.RpcError) as late:
        list(channel.unary_stream("/test.Echo/OneMany")(b"0", metadata=key, timeout=0.5))
    assert late.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert echo.cancelled.wait(30), "the service hears of it"
    echo.cancelled.clear()
    stream = channel.unary_stream("/test.Echo/OneMany")(b"0", metadata=key)
    assert next(stream) == b"0"
    stream.cancel()
    assert echo.cancelled.wait(30), "the service hears of it"


def test_a_message_of_grpc_web_size_passes_in_both_directions(channel, caller_key):
    key = [("authorization", f"Bearer {caller_key}")]
    large = bytes(range(256)) * (3 << 12)
    assert channel.unary_unary("/test.Echo/OneOne")(large, metadata=key) == large


# ---- WebSockets ----


@pytest.fixture
def socket_server(service_key):
    """Sends back what comes."""
    key = service_key.read_text().strip()

    def admit(connection, request):
        if request.headers.get("authorization") != f"Bearer {key}":
            return connection.respond(401, "the service demands its key\n")

    def handle(connection):
        for message in connection:
            connection.send(message)

    server = websockets.sync.server.serve(
        handle, "127.0.0.1", 0, process_request=admit, subprotocols=["echo"], max_size=1 << 24)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.socket.getsockname()[1]
    server.shutdown()
    thread.join()


@pytest.fixture
def socket_gate(socket_server, config, gate):
    settings = config(f"http://127.0.0.1:{socket_server}/")
    settings["routes"][0]["websocket"] = "on"
    return gate(settings)


def test_a_websocket_over_http1(socket_gate, caller_key, pki, tls):
    scheme, port, context = ("wss", socket_gate.port("tls"), pki.client()) if tls \
        else ("ws", socket_gate.port(), None)
    with websockets.sync.client.connect(
        f"{scheme}://localhost:{port}/socket", additional_headers={"Authorization": f"Bearer {caller_key}"},
        subprotocols=["echo"], ssl=context, max_size=1 << 24,
    ) as connection:
        assert connection.subprotocol == "echo"
        for message in ("hello", b"\x00\xff" * 1000, "x" * (1 << 20)):
            connection.send(message)
            assert connection.recv(timeout=30) == message
        reload_of_others(socket_gate)
        connection.send("after the reload")
        assert connection.recv(timeout=30) == "after the reload"
        connection.ping().wait(30)
    assert connection.close_code == 1000


def frame(payload):
    """A masked text frame (RFC 6455 section 5.2)."""
    mask = b"\x01\x02\x03\x04"
    length = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + len(payload).to_bytes(2, "big")
    return b"\x81" + length + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


def test_a_websocket_over_http2(socket_gate, caller_key, pki, tls):
    port, context = (socket_gate.port("tls"), pki.client("h2")) if tls else (socket_gate.port(), None)
    with http2.Connection(port, context) as connection:
        connection.run(lambda: connection.http.remote_settings.enable_connect_protocol == 1)
        stream = connection.open([
            (":method", "CONNECT"), (":protocol", "websocket"), (":scheme", connection.scheme),
            (":authority", f"localhost:{port}"), (":path", "/socket"),
            ("authorization", f"Bearer {caller_key}"), ("sec-websocket-version", "13"),
            ("sec-websocket-protocol", "echo"),
        ])
        connection.run(lambda: stream.status)
        assert stream.status == 200
        expected = b""
        for text in (b"hello", b"y" * 1000):
            connection.send(stream, frame(text))
            length = bytes([len(text)]) if len(text) < 126 else b"\x7e" + len(text).to_bytes(2, "big")
            expected += b"\x81" + length + text
            connection.run(lambda: len(stream.content) >= len(expected))
            assert stream.content == expected
        reload_of_others(socket_gate)
        # Close, 1000.
        connection.send(stream, b"\x88\x82\x00\x00\x00\x00\x03\xe8")
        connection.run(lambda: stream.done)
        assert stream.content == expected + b"\x88\x02\x03\xe8"
        assert stream.reset is None


def test_a_route_without_websockets_says_so(socket_server, config, gate, caller_key):
    running = gate(config(f"http://127.0.0.1:{socket_server}/"))
    with pytest.raises(websockets.exceptions.InvalidStatus) as refused:
        websockets.sync.client.connect(
            f"ws://localhost:{running.port()}/socket", additional_headers={"Authorization": f"Bearer {caller_key}"})
    assert refused.value.response.status_code == 400
    assert b"upgrade_refused" in refused.value.response.body


# ---- server-sent events ----


@pytest.mark.parametrize("way", ["h1", "h2"])
def test_events_rarer_than_the_stall_timeout(way, config, gate, caller_key, service_key, pki, tls, full, show):
    every, stall = (EVERY_FULL, "30s") if full else (EVERY, "1s")
    events = [b"data: %d\n\n" % number for number in range(3)]
    with Upstream(service_key.read_text().strip()) as service:
        service.events, service.every = events, every
        settings = config(service.url())
        settings["timeouts"] = {"lame_duck": "0s", "stall": stall}
        running = gate(settings)
        port = running.port("tls" if tls else "local")
        headers = [("authorization", f"Bearer {caller_key}"), ("accept", "text/event-stream")]
        arrived = []
        if way == "h1":
            with http1.Connection(port, pki.client() if tls else None) as connection:
                connection.send(connection.head("GET", "/events", headers))
                response = connection.response_head()
                assert (response.status, response.header("content-type")) == (200, "text/event-stream")
                for piece in connection.body_of(response):
                    arrived.append((time.monotonic(), piece))
                    if len(arrived) == 1:
                        reload_of_others(running)
        else:
            with http2.Connection(port, pki.client("h2") if tls else None) as connection:
                stream = connection.begin("GET", "/events", headers)
                stream.sink = lambda piece: piece and arrived.append((time.monotonic(), piece))
                connection.run(lambda: arrived)
                reload_of_others(running)
                connection.run(lambda: stream.done, patience=10 * every)
                assert (stream.status, stream.reset) == (200, None)
        assert b"".join(piece for _, piece in arrived) == b"".join(events)
        late = max(at - begun for (at, _), begun in zip(arrived, service.sent, strict=True))
        show(f"{way}{' over TLS' if tls else ''}: an event every {every} s, {late * 1000:.0f} ms late at most")


def test_a_long_poll_is_answered_when_there_is_something(config, gate, caller_key, service_key):
    with Upstream(service_key.read_text().strip()) as service:
        settings = config(service.url())
        settings["timeouts"] = {"lame_duck": "0s", "stall": "1s"}
        running = gate(settings)
        with http1.Connection(running.port()) as connection, contextlib.ExitStack() as stack:
            stack.callback(service.release.set)
            connection.send(connection.head("POST", "/held", [("authorization", f"Bearer {caller_key}")], 2) + b"??")
            until(lambda: service.held == 1, "the service has it")
            time.sleep(2)  # longer than the stall time-out: a silent upstream is no stall
            service.release.set()
            assert connection.response().body == b"??"
