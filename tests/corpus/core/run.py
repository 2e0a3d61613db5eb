"""Plays cases on lanes, several at a time, and collects verdicts."""

import queue
import threading
import time
import traceback
from dataclasses import dataclass, field

from .case import PASSED, Case, Ended, Outcome, Verdict

# Heavy cases that may run beside each other.
HEAVY = 1


@dataclass
class Result:
    """A case that was played."""

    case: Case
    verdict: Verdict
    seconds: float
    # What each connection sent and got.
    transcript: list = field(default_factory=list)
    seen: bytes = b""


def play(case, lane):
    """One case on one lane."""
    began = time.monotonic()
    lane.begin()
    try:
        case.play(lane)
        verdict = PASSED
    except Ended as ended:
        verdict = ended.verdict
    except (ConnectionRefusedError, ConnectionResetError) as lost:
        verdict = Verdict(Outcome.HUNG, f"the gate takes no connection: {lost!r}")
    except Exception:  # a case that fails in its own code must be seen, and must not end the run
        verdict = Verdict(Outcome.WRONG, "the case itself failed:\n" + traceback.format_exc())
    transcript = lane.transcript()
    lane.end()
    return Result(case, verdict, time.monotonic() - began, transcript, lane.upstream.seen().raw())


def play_all(cases, lanes, on_result):
    """All cases: first those that may run beside others, then the heavy ones."""
    for group, width in (([case for case in cases if not case.alone], len(lanes)), ([case for case in cases if case.alone],
        HEAVY)):
        waiting = queue.SimpleQueue()
        for case in group:
            waiting.put(case)
        threads = [threading.Thread(target=work, args=(waiting, lane, on_result)) for lane in lanes[:width]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def work(waiting, lane, on_result):
    while True:
        try:
            case = waiting.get_nowait()
        except queue.Empty:
            return
        on_result(play(case, lane))
