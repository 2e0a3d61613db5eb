"""What is made of figures, and what is refused: `python3 -m unittest discover benches/peers`. No proxy runs here."""

import http.server
import json
import sys
import tempfile
import threading
import unittest
import xml.etree.ElementTree
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parent))

from measure import Refused, proof, proxies, report  # noqa: E402
from measure.goals import GOALS, absolute, ratio  # noqa: E402
from measure.line import Line, Verdict  # noqa: E402
from measure.proxies import ENVOY, HAPROXY, NGINX, NULL, SCOREGATE  # noqa: E402
from measure.rounds import in_turns  # noqa: E402
from measure.rows import ASIDE, QUICK, ROWS  # noqa: E402
from measure.rows.counted import per_request  # noqa: E402
from measure.rows.latency import rates  # noqa: E402
from measure.run import Run  # noqa: E402


def line(goal=None, **more):
    figures = {SCOREGATE: [18, 20, 40], NULL: [1, 1, 1], NGINX: [20, 25, 50], HAPROXY: [30, 24, 10], ENVOY: [60, 60, 60]}
    return Line(**{"key": "h1", "work": "plain", "unit": "CPU µs/request", "figures": figures, "goal": goal} | more)


def run(*lines):
    machine = {"processor": "P", "cores": 2, "memory_gib": 1, "kernel": "6", "system": "Debian", "load_before": 0.0}
    return Run("benches/peers/run", "abc", 3, machine, {NGINX: "1"}, {ENVOY: "no wheel"}, list(lines))


class Lines(unittest.TestCase):
    def test_the_best_peer_is_chosen_by_its_median_and_compared_with_round_by_round(self):
        self.assertEqual(line().compared_with()[0], HAPROXY)
        self.assertEqual(line().ratios(), [18 / 30, 20 / 24, 4.0])

    def test_the_null_forwarder_is_nobody_to_compare_with(self):
        alone = line(figures={SCOREGATE: [2], NULL: [1]}, goal=ratio(1, 1))
        self.assertEqual((alone.ratios(), alone.verdict()), ([], Verdict.NONE))

    def test_a_ratio_is_judged_by_its_median_and_a_bound_by_the_figure(self):
        for goal, verdict in [(ratio(0.84, 0.9), Verdict.GOAL), (ratio(0.8, 0.84), Verdict.FLOOR), (ratio(0.7, 0.8), Verdict.SHORT),
                              (absolute(20, 21), Verdict.GOAL), (absolute(19, 20), Verdict.FLOOR), (absolute(18, 19), Verdict.SHORT)]:
            self.assertEqual(line(goal).verdict(), verdict, goal)

    def test_what_could_not_be_measured_meets_no_goal(self):
        self.assertEqual(line(absolute(100, 100), missing="refused").verdict(), Verdict.MISSING)

    def test_only_counted_rows_fail_a_run_and_an_allowance_stands_in_for_the_floor(self):
        timed = line(GOALS["h1"], figures={SCOREGATE: [9], NGINX: [1]})
        counted = line(GOALS["syscalls"], key="syscalls", figures={SCOREGATE: [5.0]})
        self.assertEqual([one.key for one in run(timed, counted).failed({})], ["syscalls"])
        self.assertEqual(run(counted).failed({"syscalls": 5.0}), [])
        self.assertEqual(len(run(counted).failed({"syscalls": 4.9})), 1)


class Rounds(unittest.TestCase):
    def test_everyone_is_measured_once_a_round_and_begins_in_turn(self):
        order = []
        figures = in_turns({"a": 1, "b": 2}, 3, lambda name, subject: order.append(name) or subject)
        self.assertEqual(order, ["a", "b", "b", "a", "a", "b"])
        self.assertEqual(figures, {"a": [1, 1, 1], "b": [2, 2, 2]})

    def test_what_is_done_once_is_not_counted_for_a_request(self):
        self.assertEqual(per_request(lambda n: {"read": 7 + 2 * n, "mmap": 30}, 100), {"read": 2.0, "mmap": 0.0})

    def test_everyone_is_asked_at_the_same_rate_but_for_who_cannot_keep_up(self):
        self.assertEqual(rates({SCOREGATE: 300, NGINX: 200, ENVOY: 50}, 0.5), {SCOREGATE: 100, NGINX: 100, ENVOY: 25})


class Reports(unittest.TestCase):
    def test_the_table_names_what_falls_short_and_who_is_missing(self):
        text = report.table.markdown(run(line(ratio(0.7, 0.8)), line(absolute(1, 1), key="keys", missing="100,000 are refused")))
        self.assertIn("| plain: CPU µs/request | **20.0** | 1.0 | 25.0 | 24.0 | 60.0 | 0.83 (0.60–4.00), HAProxy | 0.80 | 0.70 | short", text)
        self.assertIn("**Short of its floor**: plain: 0.83, floor 0.80.", text)
        self.assertIn("**Not possible yet**: plain: 100,000 are refused.", text)
        self.assertIn("Without Envoy: no wheel.", text)

    def test_sizes_are_read_as_they_are_shown(self):
        self.assertEqual(report.units.shown(2560, "resident bytes"), "2.5 KiB")
        self.assertEqual(report.units.read("2.5KiB"), 2560)
        self.assertEqual(report.units.read("0.99"), 0.99)
        self.assertRaises(ValueError, report.units.read, "much")

    def test_every_form_is_written_and_can_be_read(self):
        grown = line(ratio(1, 1), key="keys", baseline=("1", [1, 1, 1]), details={"growth": {"1": [1, 2], "1000": [3, 4]}})
        with tempfile.TemporaryDirectory() as folder:
            paths = report.write(Path(folder) / "out", run(line(ratio(0.7, 0.8)), grown))
            self.assertEqual([path.name for path in paths], ["peers.md", "peers.json", "peers.svg", "growth.svg"])
            self.assertEqual(json.loads(paths[1].read_text())["rows"][0]["verdict"], "short of its floor")
            for path in paths[2:]:
                self.assertTrue(xml.etree.ElementTree.parse(path).getroot().tag.endswith("svg"))


class Rows(unittest.TestCase):
    def test_the_rows_that_are_named_elsewhere_are_there(self):
        self.assertLessEqual(set(QUICK) | ASIDE, set(ROWS))
        # Rows that make several lines are named for them.
        self.assertEqual({key for key in GOALS if key not in ROWS}, {"workers-futex", "changes-p99"})


class Proxies(unittest.TestCase):
    def test_a_configuration_with_a_gap_is_refused(self):
        with tempfile.TemporaryDirectory() as folder, self.assertRaisesRegex(Refused, "nothing is known for @"):
            proxies.fill("nginx.conf", Path(folder), PORT=1)


class Pretender(http.server.BaseHTTPRequestHandler):
    """A proxy with faults: `server.faults` of them."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        faults = self.server.faults
        self.rfile.read(int(self.headers["content-length"]))
        known = self.headers["authorization"] == f"Bearer {proxies.CALLER_KEY}"
        status, body = (200, proof.ANSWER) if known or "lets anyone in" in faults else (401, b'{"error":{"code":"caller_unknown"}}')
        if known and self.path == "/credential":
            body = (self.headers["authorization"] if "passes the caller's key on" in faults else f"Bearer {proxies.SERVICE_KEY}").encode()
        if "answers wrongly" in faults:
            body = b"x" * len(body)
        self.server.count += "does not count" not in faults
        self.answer(status, body, {} if "gives no id" in faults else {"x-request-id": "1"})

    def do_GET(self):
        self.answer(200, f'scoregate_requests_total{{route="all"}} {self.server.count}\n'.encode(), {})

    def answer(self, status, body, headers):
        self.send_response(status)
        for name, value in (headers | {"content-length": len(body)}).items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Proof(unittest.TestCase):
    def prove(self, *faults):
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pretender) as server:
            server.faults, server.count = faults, 0
            threading.Thread(target=server.serve_forever, daemon=True).start()
            port = server.server_address[1]
            proxy = SimpleNamespace(name=SCOREGATE, port=port, tls_port=None, health_port=port, command=["scoregate"], process=None,
                                    said=lambda: "")
            try:
                proof.prove(None, proxy)
            finally:
                server.shutdown()

    def test_who_does_everything_is_taken(self):
        self.prove()

    def test_who_lacks_something_is_refused_by_it(self):
        proof.COUNTED_WITHIN, before = 0.3, proof.COUNTED_WITHIN
        self.addCleanup(setattr, proof, "COUNTED_WITHIN", before)
        for fault, said in [("lets anyone in", "wrong key is let in"), ("gives no id", "no x-request-id"), ("does not count", "are counted"),
                            ("passes the caller's key on", "instead of the service's key"), ("answers wrongly", "instead of 200")]:
            with self.subTest(fault), self.assertRaisesRegex(Refused, said):
                self.prove(fault)


if __name__ == "__main__":
    unittest.main()
