"""The real inference server answers the same through the gate as directly, to every kind of client."""

import json
import random
import subprocess

import httpx
import pytest
import requests

from harness import http1, http2
from harness.until import until

FLOWERS = 1000


@pytest.fixture(scope="module")
def questions():
    """Different each, the same at each run."""
    dice = random.Random(1936)
    return [json.dumps({"data": [[round(dice.uniform(0, 8), 1) for _ in range(4)]]}).encode() for _ in range(FLOWERS)]


@pytest.fixture(scope="module")
def direct(model, questions):
    """What the server answers by itself."""
    answers = []
    for question in questions:
        with http1.Connection(model.port) as connection:
            answer = connection.request("POST", "/score", body=question)
        assert answer.status == 200, answer.body
        answers.append(answer.body)
    assert len(set(answers)) > FLOWERS / 2, "the questions tell answers apart"
    return answers


@pytest.fixture
def scoring(gate, config, model):
    return gate(config(model.url()))


@pytest.mark.parametrize("protocol", ["h1", "h2-tls", "h2-prior-knowledge"])
def test_a_thousand_flowers_get_the_same_answers(protocol, scoring, pki, caller_key, questions, direct, show):
    headers = [("authorization", f"Bearer {caller_key}"), ("content-type", "application/json")]
    if protocol == "h1":
        with http1.Connection(scoring.port()) as connection:
            answers = [connection.request("POST", "/score", headers, question) for question in questions]
        same = [(answer.status, answer.body) for answer in answers]
    else:
        tls = protocol == "h2-tls"
        port, context = (scoring.port("tls"), pki.client("h2")) if tls else (scoring.port(), None)
        with http2.Connection(port, context) as connection:
            waiting, streams = list(reversed(questions)), []
            while waiting or not all(stream.done for stream in streams):
                while waiting and sum(not stream.done for stream in streams[-64:]) < 8:
                    streams.append(connection.begin("POST", "/score", headers, waiting.pop()))
                connection.pump(1)
                assert connection.closed is None
        same = [(stream.status, stream.content) for stream in streams]
    assert same == [(200, body) for body in direct]
    # Workers add their counts up a few times a second.
    until(lambda: scoring.metric("scoregate_requests_total") == FLOWERS, "each is counted once")
    show(f"{protocol}: {len(same)} answers, each as the server's own")


@pytest.mark.parametrize("protocol", ["h1", "h2-tls"])
def test_a_models_error_passes_untouched(protocol, scoring, model, pki, caller_key):
    # The server sends these ids back, so that both answers are the same to the byte.
    ids = [("x-request-id", "one-of-mine"), ("x-ms-client-request-id", "mine-too")]
    with http1.Connection(model.port) as connection:
        expected = connection.request("POST", "/score", ids, b'{"fail": true}')
    headers = [*ids, ("authorization", f"Bearer {caller_key}")]
    if protocol == "h1":
        with http1.Connection(scoring.port()) as connection:
            answer = connection.request("POST", "/score", headers, b'{"fail": true}')
        status, body = answer.status, answer.body
    else:
        with http2.Connection(scoring.port("tls"), pki.client("h2")) as connection:
            answer = connection.request("POST", "/score", headers, b'{"fail": true}')
        status, body = answer.status, answer.content
    assert (status, body) == (expected.status, expected.body) and status == 500
    assert answer.header("x-ms-run-function-failed") == "True"
    # Its headers, less those that belong to its own connection.
    own = {"connection", "date", "transfer-encoding"}
    wanted = sorted(pair for pair in expected.headers if pair[0] not in own)
    got = sorted(pair for pair in answer.headers if pair[0] not in own and not pair[0].startswith(":"))
    assert [pair for pair in got if pair[0] != "via"] == wanted


def test_a_models_other_answers_pass_too(scoring, caller_key):
    headers = [("authorization", f"Bearer {caller_key}")]
    with http1.Connection(scoring.port()) as connection:
        swagger = connection.request("GET", "/swagger.json", headers)
        assert swagger.status == 404 or json.loads(swagger.body)
        alive = connection.request("GET", "/", headers)
        assert (alive.status, alive.body) == (200, b"Healthy")


class TestClients:
    QUESTION = b'{"data": [[5.1, 3.5, 1.4, 0.2]]}'

    def test_curl(self, scoring, pki, caller_key):
        for options in ([f"http://127.0.0.1:{scoring.port()}/score"],
                        ["--http2-prior-knowledge", f"http://127.0.0.1:{scoring.port()}/score"],
                        ["--http2", "--cacert", pki.ca, f"https://localhost:{scoring.port('tls')}/score"],
                        ["--http1.1", "--cacert", pki.ca, f"https://localhost:{scoring.port('tls')}/score"]):
            done = subprocess.run(
                ["curl", "-sS", "--fail", "--max-time", "60", "--config", "-", "-d", self.QUESTION.decode(), *options],
                input=f'header = "Authorization: Bearer {caller_key}"\n'.encode(), capture_output=True, check=False,
            )
            assert done.returncode == 0, done.stderr
            assert json.loads(done.stdout)["result"] == [0], options

    def test_requests(self, scoring, pki, caller_key):
        with requests.Session() as session:
            session.headers["Authorization"] = f"Bearer {caller_key}"
            session.verify = str(pki.ca)
            for url in (f"http://127.0.0.1:{scoring.port()}/score", f"https://localhost:{scoring.port('tls')}/score"):
                for _ in range(3):
                    answer = session.post(url, data=self.QUESTION, timeout=60)
                    assert (answer.status_code, answer.json()["result"]) == (200, [0])

    def test_httpx_speaks_http2(self, scoring, pki, caller_key):
        with httpx.Client(http2=True, verify=pki.client(), timeout=60) as client:
            url = f"https://localhost:{scoring.port('tls')}/score"
            answer = client.post(url, content=self.QUESTION, headers={"authorization": f"Bearer {caller_key}"})
        assert (answer.http_version, answer.status_code, answer.json()["result"]) == ("HTTP/2", 200, [0])

    def test_nobody_comes_in_without_a_key(self, scoring, pki):
        for verify, url in ((True, f"http://127.0.0.1:{scoring.port()}/score"),
                            (str(pki.ca), f"https://localhost:{scoring.port('tls')}/score")):
            answer = requests.post(url, data=self.QUESTION, verify=verify, timeout=60)
            assert answer.status_code == 401
            assert answer.json()["error"]["code"] == "caller_unknown"
            assert "www-authenticate" in answer.headers
