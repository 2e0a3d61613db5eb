# Microsoft's inference server with a model that tells irises apart: what compose.yaml has behind the gate. Context: the repository.
FROM python:3.11-slim-bookworm
WORKDIR /model
COPY tests/e2e/requirements.txt ./
# Of the tests' packages those that the server and the model need; a constraint has no extras.
RUN grep -v '\[' requirements.txt > constraints.txt \
    && pip install --no-cache-dir --constraint constraints.txt azureml-inference-server-http==1.5.1 scikit-learn==1.9.1
COPY tests/e2e/model/score.py docker/configure.py ./
USER 65532:65532
ENV HOME=/tmp
EXPOSE 5001
CMD ["azmlinfsrv", "--entry_script", "/model/score.py", "--port", "5001"]
