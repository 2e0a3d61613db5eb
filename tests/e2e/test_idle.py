"""Connections that fall idle: the instant at which one gives its memory back, and ten thousand that all come back at once."""

import asyncio
import random
import resource

import pytest

from harness.upstream import Upstream

# How long a connection is idle before it gives back what it needs to be busy, and how much later that may happen.
PARK, LATER = 0.5, 0.3
MANY = 10_000
TIMES = 3


async def ask(reader, writer, head, body, pauses=()):
    """One request in as many pieces as there are pauses; whether the answer is its own."""
    request = head + b"content-length: %d\r\n\r\n" % len(body) + body
    cuts = sorted(random.sample(range(1, len(request)), len(pauses)))
    for begin, end, pause in zip([0, *cuts], [*cuts, len(request)], [*pauses, 0]):
        writer.write(request[begin:end])
        await writer.drain()
        await asyncio.sleep(pause)
    answer = await reader.readuntil(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200"), answer
    length = int(answer.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    assert await reader.readexactly(length) == body


def head(caller_key):
    return f"POST /score HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {caller_key}\r\n".encode()


@pytest.mark.parametrize("listener", ["local", "tls"])
def test_the_instant_of_parking_loses_nothing(gate, config, pki, service_key, caller_key, listener, full):
    connections, rounds = (400, 20) if full else (200, 6)
    dice = random.Random(7)

    async def one(port, number):
        tls = pki.client() if listener == "tls" else None
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname=tls and "localhost")
        for turn in range(rounds):
            # In one piece, or in pieces of which any may be the one that comes at the instant.
            pauses = [dice.random() * 0.002 for _ in range(dice.choice([0, 0, 1, 3]))]
            await ask(reader, writer, head(caller_key), b"%d of %d" % (turn, number), pauses)
            await asyncio.sleep(PARK - 0.02 + dice.random() * LATER)
        writer.close()

    async def all_of_them(port):
        await asyncio.gather(*(one(port, number) for number in range(connections)))

    with Upstream(service_key.read_text().strip()) as upstream:
        running = gate(config(upstream.url()))
        asyncio.run(all_of_them(running.port(listener)))
        assert running.metric("scoregate_requests_total") == connections * rounds


def test_ten_thousand_idle_connections_are_all_used_again(gate, config, service_key, caller_key):
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    assert most >= MANY + 2000, f"this test needs more than {most} descriptors: raise the hard limit"

    async def opened(port):
        link = await asyncio.open_connection("127.0.0.1", port, limit=4096)
        # One that says nothing at all is closed after `request_head`.
        await ask(*link, head(caller_key), b"first")
        return link

    async def all_of_them(running):
        links = []
        for _ in range(0, MANY, 500):
            links += await asyncio.gather(*(opened(running.port()) for _ in range(500)))
        sizes = []
        for turn in range(TIMES):
            asked = (ask(*link, head(caller_key), b"%d of %d" % (turn, at)) for at, link in enumerate(links))
            failures = [failure for failure in await asyncio.gather(*asked, return_exceptions=True) if failure]
            assert not failures, f"{len(failures)} of {MANY} failed the {turn + 1}. time, such as {failures[0]!r}"
            await asyncio.sleep(PARK + LATER + 0.2)
            sizes.append(running.memory("VmRSS"))
        assert running.metric(r'scoregate_connections\{listener="local",state="idle"\}') == MANY
        for _, writer in links:
            writer.close()
        return sizes

    with Upstream(service_key.read_text().strip()) as upstream:
        made = config(upstream.url(), log={"level": "info", "access": "errors"})
        made["endpoints"]["model"] |= {"queue": 16_384}
        running = gate(made)
        empty = running.memory("VmRSS")
        sizes = asyncio.run(all_of_them(running))
        each = ", ".join(f"{(size - empty) / MANY / 1024:.1f}" for size in sizes)
        print(f"\n    {MANY} idle connections, used {TIMES} times: 0 failed; KiB each when idle again: {each}")
        assert upstream.answered == (1 + TIMES) * MANY
