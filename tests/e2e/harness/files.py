"""Files that change under a gate that watches them."""

# What the watch needs at most, seconds; the number.
LIVE = 2.0


def replace(path, content):
    """As a careful person writes a file: beside it, then renamed over it."""
    beside = path.with_name(path.name + ".new")
    beside.write_bytes(content if isinstance(content, bytes) else content.encode())
    beside.rename(path)
