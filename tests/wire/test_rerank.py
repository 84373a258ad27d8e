"""Reranking: two forms of one thing."""

import json

import pytest
from cohere.v2.types import V2RerankResponse

from headrace import errors
from headrace.wire.usage import Counts
from tests.wire.bodies import read, sent

JINA, COHERE = "/v1/rerank", "/v2/rerank"
DOCUMENTS = ["bananas", {"text": "Paris"}, "Berlin"]


def ask(path: str, **fields: object):
    return read(path, **{"query": "capital of France", "documents": DOCUMENTS, **fields})


def body(*scores: float, **more: object) -> bytes:
    results = [{"index": i, "relevance_score": score} for i, score in enumerate(scores)]
    return json.dumps({"model": "f", "results": results, "usage": {"total_tokens": 12}, **more}).encode()


@pytest.mark.parametrize("path", [JINA, COHERE, "/rerank"])
def test_an_engine_gets_texts_and_always_gives_all(path: str):
    """Documents are not sent around, and one that is missing would be seen."""
    call = ask(path, top_n=1, return_documents=True)
    assert call.items == 3
    assert sent(call) == {
        "model": "up",
        "query": "capital of France",
        "documents": ["bananas", "Paris", "Berlin"],
        "top_n": 3,
        "return_documents": False,
    }


def test_cohere_s_form():
    """Results, best first, and search units of a hundred documents."""
    answer = ask(COHERE, top_n=2).finish(body(0.1, 0.9, 0.5), "req_1")
    made = V2RerankResponse.model_validate_json(answer)
    assert [(r.index, r.relevance_score) for r in made.results] == [(1, 0.9), (2, 0.5)]
    assert (made.id, made.meta.billed_units.search_units, made.meta.api_version.version) == ("req_1", 1, "2")
    many = ask(COHERE, documents=["x"] * 101)
    assert json.loads(many.finish(body(*[0.5] * 101), "r"))["meta"]["billed_units"] == {"search_units": 2}


def test_jina_s_form():
    """Usage, and the documents where asked for."""
    answer = ask(JINA, return_documents=True, top_n=1).finish(body(0.1, 0.9, 0.5), "req_1", Counts(input_tokens=12))
    assert json.loads(answer) == {
        "id": "req_1",
        "model": "m",
        "usage": {"total_tokens": 12},
        "results": [{"index": 1, "relevance_score": 0.9, "document": {"text": "Paris"}}],
    }
    assert "document" not in json.loads(ask(JINA).finish(body(1, 2, 3), "r"))["results"][0]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"documents": []}, "documents"),
        ({"documents": ["x"] * 1001}, "documents"),
        ({"documents": [{"image": "x"}]}, "documents[0].image"),
        ({"documents": [1]}, "documents[...]"),
        ({"query": ""}, "query"),
        ({"top_n": 0}, "top_n"),
        ({"rank_fields": ["x"]}, "rank_fields"),
    ],
)
def test_a_wrong_field_is_refused_by_its_name(fields: dict, param: str):
    """400 with the parameter."""
    with pytest.raises(errors.Invalid) as refused:
        ask(JINA, **fields)
    assert refused.value.param in (param, param.replace("[...]", "[0]"))


@pytest.mark.parametrize(
    "bad", [body(1, 2), body(1, 2, 3, 4), body(1, 2, 3).replace(b'"index": 2', b'"index": 1'), b"{}", b"[]"]
)
def test_an_engine_s_garbage_is_not_an_answer(bad: bytes):
    """Each document once, with a number."""
    with pytest.raises(errors.Transient):
        ask(JINA).finish(bad, "r")
