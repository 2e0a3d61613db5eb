"""Waiting for something to become true, with a deadline."""

import time

PATIENCE = 30.0


def until(true, what, patience=PATIENCE):
    """Asks again and again until the answer is true, and returns it."""
    deadline = time.monotonic() + patience
    while not (answer := true()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {patience:.0f} s in vain: {what}")
        time.sleep(0.01)
    return answer
