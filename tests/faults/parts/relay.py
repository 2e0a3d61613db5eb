"""Delay and reordering on a wire: the router sends a machine's packets through a TUN device, and this gives each back in its own time."""

import fcntl
import heapq
import os
import random
import select
import struct
import threading
import time

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
# More than any packet.
PACKET = 65536
# Of the table with the way through the relay.
TABLE = 213


class Relay:
    """Between a machine and everybody else, both ways. `seed` makes a run like the one before."""

    def __init__(self, network, machine, shortest, longest, seed=1):
        self.network, self.machine = network, machine
        self.shortest, self.longest = shortest, longest
        self.dice = random.Random(seed)
        self.passed = self.overtook = 0
        with network.on("router"):
            self.device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(self.device, TUNSETIFF, struct.pack("16sH22x", b"relay", IFF_TUN | IFF_NO_PI))
        router = network.inside
        router("router", "sh", "-c", "for file in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 > $file; done")
        router("router", "ip", "link", "set", "relay", "up")
        router("router", "ip", "route", "add", "default", "dev", "relay", "table", TABLE)
        # What comes from the machine, and what goes there, but not what comes out of the relay.
        router("router", "ip", "rule", "add", "iif", "relay", "lookup", "main", "priority", "100")
        router("router", "ip", "rule", "add", "iif", machine, "lookup", TABLE, "priority", "200")
        router("router", "ip", "rule", "add", "to", network.address[machine], "lookup", TABLE, "priority", "300")
        self.stopping = False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        waiting, number, last = [], 0, 0
        while not self.stopping:
            now = time.monotonic()
            while waiting and waiting[0][0] <= now:
                _, sequence, packet = heapq.heappop(waiting)
                self.overtook += sequence < last
                last = max(last, sequence)
                self.passed += 1
                os.write(self.device, packet)
            pause = min(waiting[0][0] - now, 0.05) if waiting else 0.05
            if select.select([self.device], [], [], max(pause, 0))[0]:
                packet = os.read(self.device, PACKET)
                number += 1
                heapq.heappush(waiting, (time.monotonic() + self.dice.uniform(self.shortest, self.longest), number, packet))

    def stop(self):
        if not self.stopping:
            self.stopping = True
            self.thread.join(5)
            os.close(self.device)
