"""A name server that says what a test wants: over UDP, A records alone (RFC 1035)."""

import contextlib
import struct
import threading
import time


class NameServer:
    """`say(addresses)` answers with these; `say(code)` fails; `silent` answers nobody; `garbage` is no answer; `lie` is another's.

    TTL is a second. A question for anything but A gets an empty answer.
    """

    def __init__(self, sock):
        self.sock = sock
        self.sock.settimeout(0.2)
        self.said, self.asked, self.pause = [], 0, 0
        self.stopping = False
        self.thread = threading.Thread(target=self.run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping = True
        self.thread.join(5)
        self.sock.close()

    def say(self, what, pause=0):
        self.said, self.pause = what, pause

    def run(self):
        while not self.stopping:
            try:
                question, whence = self.sock.recvfrom(4096)
            except TimeoutError:
                continue
            self.asked += 1
            time.sleep(self.pause)
            if (answer := self.answer(question)) is not None:
                with contextlib.suppress(OSError):
                    self.sock.sendto(answer, whence)

    def answer(self, question):
        number = question[:2]
        end = question.index(b"\0", 12) + 5
        asked = question[12:end]
        match self.said:
            case "silent":
                return None
            case "garbage":
                return number + bytes(range(250)) * 2
            case "lie":
                # Another question's number, as somebody sends who did not see this one.
                return bytes(byte ^ 0xFF for byte in number) + self.records(asked, ["10.213.3.66"])
            case int(code):
                return number + struct.pack(">HHHHH", 0x8180 | code, 1, 0, 0, 0) + asked
            case addresses:
                kind = struct.unpack(">H", asked[-4:-2])[0]
                return number + self.records(asked, addresses if kind == 1 else [])

    @staticmethod
    def records(asked, addresses):
        text = struct.pack(">HHHHH", 0x8180, 1, len(addresses), 0, 0) + asked
        for address in addresses:
            text += b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 1, 4) + bytes(int(part) for part in address.split("."))
        return text
