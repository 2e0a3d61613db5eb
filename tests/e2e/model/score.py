"""A real model for the real inference server: iris flowers, trained at start from the data that scikit-learn bundles."""

import json
import os

from azureml_inference_server_http.api.aml_request import AMLRequest, rawhttp
from azureml_inference_server_http.api.aml_response import AMLResponse
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

MODEL = None


def init():
    global MODEL
    flowers = load_iris()
    MODEL = LogisticRegression(max_iter=500).fit(flowers.data, flowers.target)


@rawhttp
def run(request: AMLRequest):
    body = request.get_data(False)
    if request.args.get("echo"):
        return AMLResponse(body, 200, {"content-type": "application/octet-stream"})
    if request.args.get("who"):
        return AMLResponse(os.environ["E2E_MARK"], 200)
    question = json.loads(body)
    if question.get("fail"):
        raise ValueError("the caller asked for a failure")
    probabilities = MODEL.predict_proba(question["data"])
    answer = {"result": MODEL.predict(question["data"]).tolist(), "probabilities": probabilities.tolist()}
    return AMLResponse(json.dumps(answer), 200, {"content-type": "application/json", "x-model": "iris"})
