"""Text completions: prompts in four forms, and what only chat can do refused by name."""

import json

import pytest
from openai.types import Completion

from headrace import errors
from headrace.state.table import Ability
from headrace.wire.usage import Counts
from tests.wire.bodies import LLAMA, NATIVE, conforms, read, sent

PATH = "/v1/completions"


def body(**more: object) -> bytes:
    choice = {"text": " Paris", "index": 0, "logprobs": None, "finish_reason": "length"}
    usage = {"completion_tokens": 1, "prompt_tokens": 5, "total_tokens": 6}
    return json.dumps(
        {
            "choices": [choice],
            "created": 7,
            "model": "f",
            "object": "text_completion",
            "id": "x",
            "usage": usage,
            **more,
        }
    ).encode()


@pytest.mark.parametrize(
    ("prompt", "items"), [("a", 1), (["a", "b"], 2), ([1, 2, 3], 1), ([[1, 2], [3]], 2), (["a"], 1)]
)
def test_each_form_of_prompt_is_sent_as_it_is(prompt: object, items: int):
    """Texts or tokens, one or several."""
    call = read(PATH, prompt=prompt, n=2)
    assert (call.items, call.n) == (items, 2 * items)
    assert sent(call, NATIVE) == {"model": "up", "prompt": prompt, "max_tokens": 64, "n": 2}


@pytest.mark.parametrize("prompt", [[], ["a", 1], [1, [1]], [[1], "a"], 3, None, [-1], [1.5], ["a"] * 65])
def test_other_forms_are_refused(prompt: object):
    """Mixed, empty, too many, or no prompt at all."""
    with pytest.raises(errors.Invalid) as refused:
        read(PATH, prompt=prompt)
    assert refused.value.param.startswith("prompt")


@pytest.mark.parametrize(
    ("fields", "param"),
    [({"echo": True}, "echo"), ({"suffix": "x"}, "suffix"), ({"best_of": 3}, "best_of"), ({"logprobs": 6}, "logprobs")],
)
def test_what_is_not_done_is_refused_by_name(fields: dict, param: str):
    """Rather than ignored."""
    with pytest.raises(errors.Invalid) as refused:
        read(PATH, prompt="x", **fields)
    assert refused.value.param == param


def test_a_model_without_completions_says_what_to_use():
    """400 unsupported_endpoint."""
    with pytest.raises(errors.Invalid) as refused:
        sent(read(PATH, prompt="x"), Ability(completions=False))
    assert refused.value.code == "unsupported_endpoint"


def test_an_answer_conforms():
    """With null log probabilities and the name the client knows."""
    call = read(PATH, prompt="x")
    sent(call)
    answer = call.finish(body(), "r", Counts(input_tokens=5, output_tokens=1))
    conforms("CreateCompletionResponse", answer)
    assert Completion.model_validate_json(answer).model == "m"


def test_llama_cpp_s_log_probabilities_are_recoded():
    """It answers with chat's form; four lists are the form of this path."""
    call = read(PATH, prompt="x", logprobs=1, stream=True)
    assert "stream" not in sent(call)
    assert call.buffered
    tokens = [
        {"token": " Pa", "logprob": -1.0, "top_logprobs": [{"token": " Lo", "logprob": -2.0}]},
        {"token": "ris", "logprob": -0.5, "top_logprobs": []},
    ]
    choice = {"text": " Paris", "index": 0, "logprobs": {"content": tokens}, "finish_reason": "stop"}
    answer = call.finish(body(choices=[choice]), "r")
    conforms("CreateCompletionResponse", answer)
    assert json.loads(answer)["choices"][0]["logprobs"] == {
        "tokens": [" Pa", "ris"],
        "token_logprobs": [-1.0, -0.5],
        "top_logprobs": [{" Lo": -2.0}, {}],
        "text_offset": [0, 3],
    }
    *events, last = call.finish_stream(body(choices=[choice]), "r", 7)
    assert json.loads(events[0][6:])["choices"][0]["text"] == " Paris"
    assert last == b"data: [DONE]\n\n"


def test_counts_of_several_prompts_are_not_believed():
    """llama.cpp counts one of them; with one prompt and several choices they are counted by log probabilities."""
    call = read(PATH, prompt=["a", "b"])
    sent(call)
    assert call.counts(body(), "llama_cpp") is None
    assert call.counts(body(), "vllm") == Counts(input_tokens=5, output_tokens=1)
    call = read(PATH, prompt="a", n=2)
    assert sent(call, LLAMA)["logprobs"] == 1
    choice = {
        "text": "x",
        "index": 0,
        "logprobs": {"content": [{"token": "x", "logprob": -1}]},
        "finish_reason": "stop",
    }
    made = body(choices=[choice, {**choice, "index": 1}])
    assert call.counts(made, "llama_cpp") == Counts(input_tokens=5, output_tokens=4)
    assert [c["logprobs"] for c in json.loads(call.finish(made, "r"))["choices"]] == [None, None]
