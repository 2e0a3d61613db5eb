"""Keys that can be found again: every one carries a mark that must never appear in anything the gate writes."""

import base64
import secrets

MARK = "canary-never-to-be-seen-"


def key():
    """A new key."""
    return MARK + secrets.token_hex(16)


def assert_none_in(text, where):
    """No key, as it is or in base64, is in what the gate wrote."""
    data = text if isinstance(text, bytes) else text.encode()
    marks = [MARK.encode()]
    # Base64 of the mark at each of the three offsets that it may have.
    for lead in range(3):
        encoded = base64.b64encode(b"\0" * lead + MARK.encode())
        marks.append(encoded[4 if lead else 0 : -4])
    for mark in marks:
        at = data.find(mark)
        assert at < 0, f"a key is in {where}: …{data[max(0, at - 60) : at]!r} and then the key"
