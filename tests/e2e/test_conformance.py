"""Answers conform to OpenAI's published description on the served paths, and generated requests find no 5xx."""

import gzip
import json
from pathlib import Path

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings

from tests.e2e.cloud import Cloud

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

SPEC = Path(__file__).parents[1] / "data" / "openai-served.json.gz"


@pytest.fixture(scope="session")
def description() -> dict:
    return json.loads(gzip.decompress(SPEC.read_bytes()))


REQUESTS = {
    "/chat/completions": {"model": "smollm2", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4},
    "/completions": {"model": "smollm2", "prompt": "The capital of France is", "max_tokens": 4},
    "/embeddings": {"model": "minilm", "input": ["a", "b"]},
}


@pytest.mark.parametrize("path", REQUESTS)
def test_an_answer_conforms(cloud: Cloud, description: dict, path: str):
    """A good answer validates against the published schema of its path."""
    schema = schemathesis.openapi.from_dict(description)
    operation = schema[path]["POST"]
    answer = requests.post(
        f"{cloud.url}/v1{path}", json=REQUESTS[path], headers={"Authorization": f"Bearer {cloud.key}"}, timeout=60
    )
    assert answer.status_code == 200
    operation.validate_response(answer)


@pytest.mark.parametrize("path", ["/models", "/models/{model}"])
def test_models_conform(cloud: Cloud, description: dict, path: str):
    """The list of models and one of them."""
    operation = schemathesis.openapi.from_dict(description)[path]["GET"]
    url = f"{cloud.url}/v1{path.format(model='smollm2')}"
    operation.validate_response(requests.get(url, headers={"Authorization": f"Bearer {cloud.key}"}, timeout=60))


@pytest.mark.parametrize("path", REQUESTS)
def test_generated_requests_get_an_answer_of_the_api(cloud: Cloud, description: dict, path: str):
    """Whatever the description allows is answered, or refused with an error object: never a 5xx, never a hang."""
    operation = schemathesis.openapi.from_dict(description)[path]["POST"]

    @settings(
        max_examples=40,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def probe(case) -> None:
        body = case.body if isinstance(case.body, dict) else {}
        body = {**body, "model": REQUESTS[path]["model"]}
        body.pop("stream", None)
        if path != "/embeddings":
            body |= {"max_tokens": 2}
            body.pop("max_completion_tokens", None)
        answer = requests.post(
            f"{cloud.url}/v1{path}", json=body, headers={"Authorization": f"Bearer {cloud.key}"}, timeout=60
        )
        assert answer.status_code < 500, answer.text
        if answer.status_code != 200:
            assert sorted(answer.json()["error"]) == ["code", "message", "param", "type"]

    probe()
