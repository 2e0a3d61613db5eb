"""Wires that lose, delay, reorder, are thin or cut: between client, gate, upstream and Azure, each a machine of its own."""

import threading
import time
from contextlib import ExitStack

import pytest
from harness.until import until
from parts.peer import large, usual
from parts.witness import code_of, told
from parts.world import BODY, admin, ask, connect, hear, hush, is_ready, made, start

@pytest.fixture
def world(root, tmp_path, gate, caller_key):
    with made(tmp_path, gate, caller_key) as world:
        yield world


def ask_many(world, path, rounds=6, callers=5):
    """Several callers, several requests each over a kept connection: how long the slowest took. All are answered, whole."""
    took, problems = [], []

    def one():
        try:
            with connect(world) as connection:
                for _ in range(rounds):
                    began = time.monotonic()
                    answer = connection.request("POST", path, [("authorization", f"Bearer {world.key}")], BODY)
                    assert (answer.status, answer.body) == (200, BODY), (answer.status, answer.body[:200])
                    took.append(time.monotonic() - began)
        except Exception as problem:
            problems.append(repr(problem))

    threads = [threading.Thread(target=one) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not problems, problems
    return max(took), len(took)


FAULTS = {
    "5 % of packets lost": lambda network, machine: network.lose(machine, 5),
    "2 Mbit/s": lambda network, machine: network.squeeze(machine, "2mbit"),
    "5 to 40 ms and reordered": lambda network, machine: network.scramble(machine, 0.005, 0.04),
}


@pytest.mark.parametrize("machine", ["client", "upstream", "azure"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_wire_costs_time_and_nothing_else(world, found, fault, machine):
    FAULTS[fault](world.network, machine)
    began = time.monotonic()
    start(world)
    with world.witness.unharmed():
        if machine == "azure":
            # Sign in, find the service, read and probe its keys, all over that wire.
            until(lambda: is_ready(world), "the service is found", 40)
            ready = time.monotonic() - began
            slowest, count = ask_many(world, "/iris/echo", rounds=3)
            how = f"ready after {told(ready)}; {count} requests, slowest {told(slowest)}, 0 failed"
        else:
            slowest, count = ask_many(world, "/faulty", rounds=3)
            how = f"{count} requests of {len(BODY) // 1000} kB each way, slowest {told(slowest)}, 0 failed"
    if world.network.relays:
        relay = world.network.relays[0]
        assert relay.overtook > 0, "nothing was reordered"
        how += f"; {relay.overtook} of {relay.passed} packets overtaken"
    found(f"wire to {machine}: {fault}", "slower, and nothing else: no request fails, no byte is another", how)


def test_a_caller_whose_wire_is_cut(world, found):
    """One reads, one writes, one does nothing: none is held for longer than its time-out, and it comes back."""
    start(world)
    world.peer.script = large
    fields = [("authorization", f"Bearer {world.key}")]
    with world.witness.unharmed(), ExitStack() as stack:
        reads, writes = (stack.enter_context(connect(world)) for _ in range(2))
        reads.send(reads.head("GET", "/faulty", fields))
        reads.response_head()
        writes.send(writes.head("POST", "/faulty", fields, 1 << 20) + BODY)
        until(lambda: world.peer.requests == 2, "both are under way")
        world.network.cut("client")
        began = time.monotonic()
        until(lambda: not world.peer.connections(), "their upstream connections are let go", 12)
        took = time.monotonic() - began
        world.network.join("client")
        world.peer.script = usual
        began = time.monotonic()
        answer, _ = ask(world)
        assert (answer.status, answer.body) == (200, BODY)
        healed = time.monotonic() - began
    found("wire to client cut, mid-upload and mid-answer", "both let go after `stall`; others unharmed; served when it is back",
          f"let go after {told(took)}; others {told(world.witness.slowest)} at most; served again in {told(healed)}")


def test_an_upstream_whose_wire_is_cut(world, found):
    start(world)
    with world.witness.unharmed():
        # Some connections are kept, others have to be made.
        ask_many(world, "/faulty", rounds=2, callers=3)
        world.network.cut("upstream")
        codes, slowest = set(), 0.0
        for _ in range(3):
            answer, took = ask(world, body=b"{}")
            codes.add((answer.status, code_of(answer)))
            slowest = max(slowest, took)
        assert codes <= {(504, "upstream_timeout"), (502, "upstream_unreachable")}, codes
        assert slowest < 3 + 2
        world.network.join("upstream")
        began = time.monotonic()
        until(lambda: ask(world)[0].status == 200, "it is reached again", 10)
        healed = time.monotonic() - began
        ask_many(world, "/faulty", rounds=2, callers=3)
    found("wire to upstream cut", "504 after `response_head` or 502 after `connect`; others unharmed; served when it is back",
          f"{' and '.join(str(status) for status, _ in sorted(codes))} after {told(slowest)} at most; others {told(world.witness.slowest)}; "
          f"served again after {told(healed)}")


def test_an_identity_provider_in_a_black_hole_at_the_start(world, found):
    """What needs no sign-in serves; what does says so at once, and heals by itself."""
    hush(world, "entra_tls")
    start(world)
    with world.witness.unharmed():
        answer, took = ask(world, "/iris/echo")
        assert (answer.status, code_of(answer)) == (503, "credential_unavailable")
        assert int(answer.header("retry-after")) >= 1
        # Who comes while the first sign-in is tried waits for it, as long as a request waits for a credential at all.
        assert took < 11
        answer, at_once = ask(world, "/iris/echo")
        assert (answer.status, code_of(answer)) == (503, "credential_unavailable") and at_once < 1
        assert ask(world)[0].status == 200
        assert admin(world, "/readyz")[0] == 503
        assert admin(world, "/livez")[0] == 200
        hear(world)
        began = time.monotonic()
        until(lambda: ask(world, "/iris/echo")[0].status == 200, "it heals by itself", 60)
        healed = time.monotonic() - began
        assert admin(world, "/readyz")[0] == 200
    found("identity provider in a black hole, at the start",
          "503 `credential_unavailable` for what needs it, after 10 s while the first sign-in is tried, then at once; all else serves; "
          "heals by itself",
          f"503 after {told(took)}, then {told(at_once)}; served {told(healed)} after it was back")


def test_azure_in_a_black_hole_under_way(world, found):
    """Keys are at hand: nobody needs the control plane to be served."""
    start(world)
    until(lambda: is_ready(world), "the service is found")
    with world.witness.unharmed():
        hush(world, "entra_tls", "arm_tls")
        calls = len(world.gate.stderr())
        slowest, count = ask_many(world, "/iris/echo", rounds=20)
        until(lambda: "cannot be read" in world.gate.stderr()[calls:], "the look at the keys fails, and says so", 40)
        again, more = ask_many(world, "/iris/echo", rounds=5)
        assert is_ready(world)
        hear(world)
    found("identity provider and control plane in a black hole, under way", "requests go on with what is at hand",
          f"{count + more} requests, 0 failed, slowest {told(max(slowest, again))}")


def test_azure_whose_wire_is_cut(world, found):
    """Its front ends are gone as well."""
    start(world)
    until(lambda: is_ready(world), "the service is found")
    with world.witness.unharmed():
        world.network.cut("azure")
        answer, took = ask(world, "/iris/echo")
        assert (answer.status, code_of(answer)) in {(504, "upstream_timeout"), (502, "upstream_unreachable")}
        assert took < 5
        assert ask(world)[0].status == 200
        world.network.join("azure")
        began = time.monotonic()
        until(lambda: ask(world, "/iris/echo")[0].status == 200, "it is reached again", 20)
        healed = time.monotonic() - began
    found("wire to Azure cut", "502 or 504 within the time-outs; others unharmed; served when it is back",
          f"{answer.status} after {told(took)}; others {told(world.witness.slowest)}; served again after {told(healed)}")
