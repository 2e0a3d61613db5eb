"""The measurements: each module has `ROWS`, from a row's name to what measures it and returns its lines of the table."""

from . import counted, cpu, latency, memory, scale, start

# The order of the table.
ROWS = cpu.ROWS | counted.ROWS | memory.ROWS | scale.ROWS | latency.ROWS | start.ROWS
# Only where they are named.
ASIDE = {"build"}
# What is the same on a busy machine, in a few minutes.
QUICK = ["instructions", "syscalls", "idle-plain", "idle-tls", "in-flight-upload", "in-flight-download", "in-flight-replay"]
