"""A score.py that answers 401 of its own accord, in each of the ways it can, and counts its runs."""

import os

from azureml_inference_server_http.api.aml_request import AMLRequest, rawhttp
from azureml_inference_server_http.api.aml_response import AMLResponse
from flask import Response
from werkzeug.exceptions import Unauthorized

RUNS = 0


def init():
    """The server demands it."""


@rawhttp
def run(request: AMLRequest):
    global RUNS
    if request.args.get("who"):
        return AMLResponse(os.environ["E2E_MARK"], 200)
    way = request.args.get("way")
    if way == "count":
        return AMLResponse(str(RUNS), 200)
    RUNS += 1
    if way == "flask":
        return Response("not you", status=401, headers={"www-authenticate": "Model"})
    if way == "aml":
        return AMLResponse("not you", 401)
    raise Unauthorized("not you")
