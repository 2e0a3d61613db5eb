"""What `benches/peers/run` is made of.

`lab` holds what a measurement needs (programs, certificates, cores, the upstream) and starts proxies (`proxies`, `server`), each
proved right (`proof`) before it is measured; `load` is what callers do; `rows` are the measurements, one idea a file; `goals` says
what they are held to; `line` makes ratios and verdicts of them; `report` prints them. Nothing here sleeps to wait for something
that can be asked; times that are part of a measurement are constants with their reason.
"""


class Refused(Exception):
    """A measurement that would mean nothing: a proxy answered wrongly, a feature is off, a program is missing."""
