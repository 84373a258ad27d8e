"""Chunks taken apart: the blocks do not depend on how the bytes arrive, and nonsense ends the stream."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace import errors
from headrace.wire import answer, translate
from headrace.wire.sse import EventScanner
from headrace.wire.translate import Block, Translator
from headrace.wire.usage import Counts
from tests.wire.bodies import chunk, parts_stream


class Notes(Translator):
    """Tells what it is told, a line each."""

    def begin(self) -> bytes:
        return b"begin\n"

    def opened(self, block: Block) -> bytes:
        return f"open {block.kind} {block.place} {block.name}\n".encode()

    def grew(self, block: Block, piece: str, logprobs: list) -> bytes:
        return f"grew {piece!r} {len(logprobs)}\n".encode()

    def closed(self, block: Block) -> bytes:
        return f"close {block.kind} {block.text!r}\n".encode()

    def tail(self, counts: Counts | None) -> bytes:
        return self.started() + self.close() + b"end\n"


TEXTS = st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=3)
PARTS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["text", "reasoning"]), TEXTS),
        st.tuples(st.just("tool"), TEXTS.map(lambda pieces: ["f", *pieces])),
    ),
    max_size=4,
).filter(lambda parts: all(a[0] != b[0] or a[0] == "tool" for a, b in itertools.pairwise(parts)))


def meter() -> Notes:
    return Notes(dialect="vllm", model="m", request_id="req_1", wall_us=7_000_000)


def fed(to: Translator, stream: bytes, cuts: list[int]) -> bytes:
    """A stream that arrives in pieces."""
    places = sorted({0, len(stream), *(min(cut, len(stream)) for cut in cuts)})
    scanner = EventScanner()
    blocks = (scanner.feed(stream[a:b]) for a, b in itertools.pairwise(places))
    return b"".join(to.feed(block) for block in blocks if block)


@settings(max_examples=100, deadline=None)
@given(PARTS, st.lists(st.integers(0, 2000), max_size=8))
def test_what_is_told_does_not_depend_on_how_the_bytes_arrive(parts: list, cuts: list[int]):
    """The blocks are the parts, in order; each is closed before the next opens, and tells what it holds."""
    stream, read = parts_stream(parts), meter()
    told = fed(read, stream, cuts) + read.tail(None)
    assert told == fed(whole := meter(), stream, []) + whole.tail(None)
    texts = ["".join(pieces[1:] if kind == "tool" else pieces) for kind, pieces in parts]
    assert [(block.kind, block.text) for block in read.blocks] == [(p[0], t) for p, t in zip(parts, texts, strict=True)]
    lines = told.decode().splitlines()
    turns = [line.split()[0] for line in lines if not line.startswith("grew")]
    assert turns == ["begin", *["open", "close"] * len(parts), "end"]
    assert (read.done, read.failed, read.finish) == (True, "", "stop")
    assert read.counts == Counts(input_tokens=5, cached_tokens=2, output_tokens=3)


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (chunk({"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]}), "without a name"),
        (chunk({"content": 7}), "not a chunk"),
        (b'data: {"choices": [7]}\n\n', "not a chunk"),
        (b'data: {"error": {"message": "secret"}}\n\n', "sent an error"),
    ],
)
def test_nonsense_ends_the_stream(stream: bytes, reason: str):
    """And nothing of it is told."""
    read = meter()
    told = read.feed(stream)
    assert reason in read.failed
    assert told in (b"", b"begin\n")


def test_a_call_that_had_ended_is_not_gone_back_to():
    """Its events are told already."""
    read = meter()
    calls = [{"index": i, "id": f"c{i}", "function": {"name": "f", "arguments": "{"}} for i in (0, 1)]
    read.feed(chunk({"tool_calls": calls}) + chunk({"tool_calls": [{"index": 0, "function": {"arguments": "}"}}]}))
    assert "went back" in read.failed


def test_what_is_kept_has_a_bound(monkeypatch: pytest.MonkeyPatch):
    """An engine that never ends cannot fill the gateway."""
    monkeypatch.setattr(translate, "KEPT_MAX", 10)
    read = meter()
    read.feed(chunk({"content": "12345"}) + chunk({"content": "123456"}))
    assert "larger than 10 characters" in read.failed


def test_a_whole_answer_is_told_as_its_stream_would_have_been():
    """The same blocks, whatever the pieces."""
    call = answer.Raw(b'{"id":"c","type":"function","function":{"name":"f","arguments":"{\\"a\\":1}"}}')
    message = answer.Message(content="x" * 30, reasoning_content="hm", tool_calls=[call])
    choice = answer.Choice(message, finish_reason="tool_calls")
    read = meter()
    events = [*read.retell(choice), read.tail(None)]
    assert [(b.kind, b.text) for b in read.blocks] == [("reasoning", "hm"), ("text", "x" * 30), ("tool", '{"a":1}')]
    assert b"".join(events).count(b"grew") == 4
    assert translate.blocks_of(choice, "req_1") == [
        Block("reasoning", 0, pieces=["hm"]),
        Block("text", 1, pieces=["x" * 30]),
        Block("tool", 2, "f", "c", ['{"a":1}']),
    ]


def test_an_answer_without_a_choice_is_none():
    with pytest.raises(errors.Transient):
        translate.choice_of(answer.ChatAnswer(choices=[]))
