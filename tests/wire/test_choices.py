"""Parts of one answer: joined without loss, whatever they are and in whatever order they come."""

import json
from collections.abc import Sequence

import hypothesis.strategies as st
import pytest
from hypothesis import given
from openai.types.chat import ChatCompletionChunk

from headrace.state.table import Ability
from headrace.wire import choices, completions
from headrace.wire.call import ONCE
from headrace.wire.usage import Counts
from tests.wire.bodies import chat as body_of
from tests.wire.bodies import chunk, conforms

ONE = Ability(dialect="vllm", n=False)
NUMBER = st.integers(0, 5_000)
COUNTS = st.builds(
    lambda prompt, cached, output, prefill, decode: Counts(
        input_tokens=prompt, cached_tokens=min(cached, prompt), output_tokens=output, prefill_us=prefill, decode_us=decode
    ),
    NUMBER, NUMBER, NUMBER, NUMBER, NUMBER,
)  # fmt: skip


@given(st.lists(st.lists(COUNTS, min_size=1, max_size=3), min_size=1, max_size=16))
def test_counts_of_one_prompt(tries: list[list[Counts]]):
    """All that was written counts; of the prompt, the part that read most; each question asked again counts anew."""
    total = choices.total(tries)
    every = [counts for each in tries for counts in each]
    again = [counts for each in tries for counts in each[1:]]
    assert total.output_tokens == sum(counts.output_tokens for counts in every)
    assert total.prefill_us + total.decode_us == sum(counts.prefill_us + counts.decode_us for counts in every)
    fresh = max(each[0].input_tokens - each[0].cached_tokens for each in tries)
    asked_again = sum(counts.input_tokens - counts.cached_tokens for counts in again)
    assert total.input_tokens - total.cached_tokens == fresh + asked_again
    assert 0 <= total.cached_tokens <= total.input_tokens


@given(COUNTS, st.integers(1, 16))
def test_n_choices_of_one_prompt_are_counted_as_openai_does(counts: Counts, n: int):
    """The prompt once, the answers all."""
    total = choices.total([[counts]] * n)
    assert (total.input_tokens, total.output_tokens) == (counts.input_tokens, n * counts.output_tokens)
    assert choices.total([[counts]]) == counts


@given(st.lists(NUMBER, min_size=1, max_size=4), st.integers(1, 4))
def test_every_prompt_of_several_counts_once(prompts: list[int], copies: int):
    tries = [[Counts(input_tokens=tokens, output_tokens=1)] for tokens in prompts for _ in range(copies)]
    total = choices.total(tries, len(prompts))
    assert (total.input_tokens, total.output_tokens) == (sum(prompts), len(tries))


@given(st.integers(-(2**63), 2**63 - 1), st.integers(0, 127))
def test_seeds_follow_each_other(seed: int, copy: int):
    """They stay within 64 bits, and no two copies share one."""
    made = choices.seed_of(seed, copy)
    assert made is not None
    assert -(2**63) <= made < 2**63
    assert (made - seed - copy) % 2**64 == 0


def answer(texts: Sequence[str], call_id: str = "x") -> bytes:
    made = [
        {"index": i, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        for i, text in enumerate(texts)
    ]
    return json.dumps(
        {"id": call_id, "object": "chat.completion", "created": 5, "model": "up", "choices": made}
    ).encode()


@given(st.lists(st.text(st.characters(codec="utf-8")), min_size=2, max_size=16))
def test_whole_answers_are_joined_in_their_places(texts: list[str]):
    call = body_of(n=len(texts), seed=1)
    parts = call.parts(ONE)
    for part in parts:
        part.render(ONE, "up", 16, 1024)
    made = call.join([(part, answer([text])) for part, text in zip(parts, texts, strict=True)], "req_1", 9, Counts())
    whole = json.loads(made.body)
    assert [choice["index"] for choice in whole["choices"]] == list(range(len(texts)))
    assert [choice["message"]["content"] for choice in whole["choices"]] == texts
    assert whole["id"] == "chatcmpl-req_1"
    conforms("CreateChatCompletionResponse", whole)


def test_pieces_and_the_end_of_a_stream_are_openais():
    """The usage chunk, and pieces of any part."""
    end = choices.tail("chat.completions", "req_1", 7, "m", Counts(input_tokens=3, output_tokens=2))
    piece = choices.relabel(chunk({"content": "a"}), 3, choices.named("chat.completions", "req_1"), 7)
    for event in (end.split(b"\n\n")[0], piece.split(b"\n\n")[0]):
        ChatCompletionChunk.model_validate_json(event.removeprefix(b"data: "), strict=True)
    assert choices.tail("completions", "req_1", 7, "m", None) == b"data: [DONE]\n\n"


@given(st.lists(st.tuples(st.integers(0, 5), st.text(st.characters(codec="utf-8"))), max_size=12))
def test_streams_are_relabelled_without_loss(said: list[tuple[int, str]]):
    """Each piece keeps its text and gets its place and the one id; comments and ends are left out."""
    out = b""
    for place, text in said:
        chunk = {"id": "own", "created": 1, "model": "m", "choices": [{"index": 0, "delta": {"content": text}}]}
        block = b": wait\n\ndata: " + json.dumps(chunk).encode() + b"\n\ndata: [DONE]\n\n"
        out += choices.relabel(block, place, "all", 7)
    chunks = [json.loads(event[6:]) for event in out.decode().split("\n\n") if event]
    assert [(c["choices"][0]["index"], c["choices"][0]["delta"]["content"]) for c in chunks] == said
    assert {(c["id"], c["created"]) for c in chunks} <= {("all", 7)}


@pytest.mark.parametrize(
    ("n", "ability", "calls"),
    [
        (1, ONE, 1),
        (2, ONE, 2),
        (16, Ability(n_max=4), 16),
        (4, Ability(n_max=4), 1),
        (16, Ability(), 1),
    ],
)
def test_only_what_an_engine_cannot_do_is_split(n: int, ability: Ability, calls: int):
    call = body_of(n=n)
    assert len(call.parts(ability)) == call.asking(ability).side == calls
    assert (call.asking(ability) == ONCE) == (calls == 1)


def test_completions_are_split_by_prompt_and_copy():
    """In the order of OpenAI's choices, with the seeds of a copy alike for every prompt."""
    asked = {"model": "m", "prompt": ["a", "b"], "n": 2, "seed": 5}
    parts = completions.parse(json.dumps(asked).encode()).parts(ONE)
    sent = [json.loads(part.render(ONE, "up", 16, 1024)[1]) for part in parts]
    assert [(body["prompt"], body["seed"]) for body in sent] == [("a", 5), ("a", 6), ("b", 5), ("b", 6)]
    assert all("n" not in body for body in sent)
