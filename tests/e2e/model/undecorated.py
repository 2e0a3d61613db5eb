"""A score.py as most are: `run` is given the body as a text, so the server itself answers OPTIONS and what is no text."""

import json
import os

from azureml_inference_server_http.api.aml_response import AMLResponse


def init():
    """The server demands it."""


def run(data):
    asked = json.loads(data)
    if "who" in asked:
        return AMLResponse(os.environ["E2E_MARK"], 200)
    return {"result": ["setosa" for _ in asked["data"]]}
