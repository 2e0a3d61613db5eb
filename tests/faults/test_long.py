"""What takes longer than a run may: identity providers and control planes that are away for as long as a token lives. In tests/full."""

import time

from harness.until import until
from parts.far_azure import FarAzure
from parts.witness import code_of, told
from parts.world import admin, ask, hear, hush, is_ready, made, start


class Tokens(FarAzure):
    """The service takes tokens, which are good for 8 seconds and renewed after 4."""

    auth, behaviour = "token", {"token_lifetime": 8, "refresh_after": 4}


def test_a_control_plane_in_a_black_hole_for_longer_than_a_token_lives(root, tmp_path, gate, caller_key, found):
    """The last token serves to its end. Who comes then waits for the renewal that is under way; where that fails, it is said at once."""
    with made(tmp_path, gate, caller_key, Tokens) as world:
        start(world)
        until(lambda: is_ready(world), "the service is found")
        with world.witness.unharmed():
            hush(world, "entra_tls", "arm_tls")
            began = time.monotonic()
            assert ask(world, "/iris/echo")[0].status == 200
            until(lambda: code_of(ask(world, "/iris/echo")[0]) == "credential_unavailable", "the token is over", 30)
            served = time.monotonic() - began
            answer, took = ask(world, "/iris/echo")
            assert answer.status == 503 and took < 1
            assert ask(world)[0].status == 200
            assert admin(world, "/readyz")[0] == 503
            hear(world)
            began = time.monotonic()
            until(lambda: ask(world, "/iris/echo")[0].status == 200, "it heals by itself", 90)
            healed = time.monotonic() - began
    found("control plane in a black hole for longer than a token lives (8 s)",
          "the token serves to its end; 503 `credential_unavailable` once the renewal under way has failed, then at once; all else serves; it heals",
          f"first 503 after {told(served)}, the next within {told(took)}; served {told(healed)} after it was back")


def test_an_identity_provider_that_takes_requests_and_says_nothing(root, tmp_path, gate, caller_key, found):
    """Whoever waits for it is told after 10 s; after a minute the call is given up, and the next one is answered."""
    with made(tmp_path, gate, caller_key) as world:
        world.azure.ask("PUT", "/faults", json={"target": "entra", "kind": "slow", "delay": 3600})
        start(world)
        with world.witness.unharmed():
            answer, took = ask(world, "/iris/echo")
            assert (answer.status, code_of(answer)) == (503, "credential_unavailable") and took < 11
            assert ask(world)[0].status == 200
            world.azure.ask("DELETE", "/faults")
            began = time.monotonic()
            until(lambda: ask(world, "/iris/echo")[0].status == 200, "it heals by itself", 100)
            healed = time.monotonic() - began
    found("identity provider that takes requests and says nothing, at the start", "503 after 10 s; all else serves; heals when the call is given up",
          f"503 after {told(took)}; served {told(healed)} after it spoke again")
