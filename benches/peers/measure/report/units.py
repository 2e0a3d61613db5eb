"""Figures as people read them."""

from ..goals import KIB, MIB


def shown(value, unit):
    """A figure in its unit."""
    if "bytes" in unit:
        return size(value)
    if "instructions" in unit:
        return f"{value:,.0f}"
    if "calls" in unit:
        return f"{value:.2f}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}"


def size(value):
    if abs(value) >= MIB:
        return f"{value / MIB:,.1f} MiB"
    if abs(value) >= KIB:
        return f"{value / KIB:,.1f} KiB"
    return f"{value:,.0f} B"


def unit_of(unit):
    """What stands behind the work; sizes say theirs themselves."""
    return unit.replace("resident bytes, peak", "resident, peak").replace("resident bytes", "resident").removesuffix("bytes").strip(" ,")


def read(text):
    """A figure as it is typed: `0.99`, `8KiB`. Raises `ValueError`."""
    for suffix, factor in (("KiB", KIB), ("MiB", MIB)):
        if text.endswith(suffix):
            return float(text.removesuffix(suffix)) * factor
    return float(text)
