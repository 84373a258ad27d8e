"""Embeddings: four forms of input, two codings of the same numbers."""

import base64
import json
import struct

import pytest
from openai.types import CreateEmbeddingResponse

from headrace import errors
from headrace.state.table import Ability
from headrace.wire.usage import Counts
from tests.wire.bodies import conforms, read, sent

PATH = "/v1/embeddings"
NUMBERS = [0.5, -1.0, 0.25]
CODED = base64.b64encode(struct.pack("<3f", *NUMBERS)).decode()


def body(*vectors: object) -> bytes:
    data = [{"object": "embedding", "index": i, "embedding": vector} for i, vector in enumerate(vectors)]
    usage = {"prompt_tokens": 3, "total_tokens": 3}
    return json.dumps({"object": "list", "data": data, "model": "f", "usage": usage}).encode()


@pytest.mark.parametrize(
    ("given", "items"), [("a", 1), (["a", "b"], 2), ([1, 2], 1), ([[1], [2, 3]], 2), (["a"] * 2048, 2048)]
)
def test_each_form_of_input_is_sent_as_it_is(given: object, items: int):
    """Texts or tokens, one or several."""
    call = read(PATH, input=given)
    assert (call.items, call.output_bound(64, 512)) == (items, 0)
    assert sent(call) == {"model": "up", "input": given, "encoding_format": "float"}


@pytest.mark.parametrize("given", ["", [], [""], ["a", 1], [[]], [1, "a"], ["a"] * 2049, None, {"a": 1}, [[1, "a"]]])
def test_other_forms_are_refused(given: object):
    """Empty, mixed, too many."""
    with pytest.raises(errors.Invalid) as refused:
        read(PATH, input=given)
    assert refused.value.param.startswith("input")


def test_dimensions_need_an_engine_that_has_them():
    """Refused by name elsewhere."""
    call = read(PATH, input="a", dimensions=64)
    assert sent(call, Ability(parameters=("dimensions",)))["dimensions"] == 64
    with pytest.raises(errors.Invalid) as refused:
        sent(call)
    assert refused.value.param == "dimensions"


@pytest.mark.parametrize("engine", [NUMBERS, CODED])
@pytest.mark.parametrize("asked", ["float", "base64", None])
def test_the_coding_asked_for_is_given(engine: object, asked: str | None):
    """Whichever the engine gave."""
    call = read(PATH, input=["a", "b"], encoding_format=asked)
    answer = call.finish(body(engine, engine), "r", Counts(input_tokens=3, items=2))
    made = json.loads(answer)
    assert made["data"][1] == {"embedding": CODED if asked == "base64" else NUMBERS, "index": 1, "object": "embedding"}
    assert (made["model"], made["usage"]) == ("m", {"prompt_tokens": 3, "total_tokens": 3})
    if asked != "base64":  # which the description leaves out
        conforms("CreateEmbeddingResponse", answer)
        assert CreateEmbeddingResponse.model_validate(made).data[0].embedding == NUMBERS


@pytest.mark.parametrize("bad", [body(), body(NUMBERS, NUMBERS), body("not base64!"), body(None), body("AAA="), b"{}"])
def test_an_engine_s_garbage_is_not_an_answer(bad: bytes):
    """Another number of vectors, or none that can be read."""
    with pytest.raises(errors.Transient):
        read(PATH, input="a").finish(bad, "r")
