"""Keys changed by hand, through the configuration, while requests go on: nobody notices."""

import os

import pytest

from harness import secrets
from harness.files import replace
from harness.fixtures import FULL
from harness.load import Load
from harness.until import until
from harness.upstream import Upstream

ROUNDS = int(os.environ.get("SCOREGATE_ROUNDS", 200 if FULL else 50))
MAY_GROW = 16 << 20


def signalled(running):
    """The change is taken up because somebody says so."""
    return running.reload()


def watched(running):
    """The change is taken up by itself."""
    # The write before this was seen by its content: whatever was read last is what is in the file now.
    wanted = running.config["endpoints"]["model"]["active"]

    def active():
        (endpoint,) = running.status()["endpoints"]
        return [slot["slot"] for slot in endpoint["slots"] if slot["active"]] == [wanted]

    until(active, f"the {wanted} key is attached")


@pytest.mark.parametrize("upstream_protocol, take_up", [("h1", signalled), ("h2c", signalled), ("h1", watched)])
def test_a_hot_key_rotates_under_load(upstream_protocol, take_up, tmp_path, config, gate, pki, caller_key, show):
    primary, secondary = tmp_path / "primary", tmp_path / "secondary"
    replace(primary, (first := secrets.key()) + "\n")
    replace(secondary, (second := secrets.key()) + "\n")
    rounds = ROUNDS if (upstream_protocol, take_up) == ("h1", signalled) else ROUNDS // 5
    with Upstream(first, second) as service:
        settings = config(service.url())
        endpoint = {
            "upstreams": [service.url()],
            "keys": {"primary": {"file": str(primary)}, "secondary": {"file": str(secondary)}},
            "active": "primary",
            "upstream": {"protocol": upstream_protocol},
        }
        settings["endpoints"]["model"] = endpoint
        running = gate(settings)

        def activate(slot):
            endpoint["active"] = slot
            running.write()
            take_up(running)

        counts = []
        with Load(caller_key) as load:
            load.h1(running.port(), 6)
            load.h1(running.port("tls"), 2, pki.client())
            load.h2(running.port(), 1, 8)
            load.h2(running.port("tls"), 1, 8, pki.client("h2"))
            until(lambda: load.answered > 100, "load runs")
            until(lambda: running.metric("scoregate_connections") == 10, "ten connections are counted")
            memory = []
            for _ in range(rounds):
                memory.append(running.memory("VmRSS"))
                activate("secondary")
                # There is nothing to change any more, only to wait for.
                assert running.reload("--drained")["drained"]
                new = secrets.key()
                # At once: the old value is dropped in the same moment in which the new one is made.
                service.keys = {second, new}
                replace(primary, new + "\n")
                activate("primary")
                before = service.seen[f"Bearer {new}"]
                until(lambda: service.seen[f"Bearer {new}"] > before, "the new value is used")
                counts.append((load.answered, service.seen[f"Bearer {second}"], len(load.failures)))
                assert not load.failures, load.failures[:5]
            assert running.metric("scoregate_connections") == 10, "no connection was lost over it"
        assert not load.failures, load.failures[:5]
        # From a fifth of the way, when pools and buffers have their size.
        early, late = memory[rounds // 5], memory[-1]
        assert late <= early + MAY_GROW, f"{early} bytes have become {late}"
        assert service.refused == 0
        # Whoever was dropped is never seen again: nothing was refused, and each value ends with its rotation.
        assert len(service.seen) == rounds + 2
        assert set(load.endings) == {"stopped"}
    show(f"{upstream_protocol} behind, changes {take_up.__name__}: {rounds} rotations, {load.answered} requests over 8 connections of HTTP/1.1 and "
         f"16 streams of HTTP/2, {len(load.failures)} failed, {service.refused} refused by the service; "
         f"{early >> 20} MiB early, {late >> 20} MiB late")
    show("  rotations    answered    with the secondary    failed")
    for number, (answered, with_second, failed) in enumerate(counts, 1):
        if number % max(1, rounds // 5) == 0:
            show(f"  {number:9}    {answered:8}    {with_second:18}    {failed:6}")
