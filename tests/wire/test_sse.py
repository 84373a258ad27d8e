"""Streams: cut anywhere they read the same, the end is withheld, lies and garbage are noticed."""

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace import errors
from headrace.wire.sse import DONE, EventScanner, StreamMeter
from headrace.wire.usage import Counts


def chunk(text: str | None = None, finish: str | None = None, model: str = "file", **more: object) -> bytes:
    delta = {} if text is None else {"content": text}
    body = {
        "choices": [{"finish_reason": finish, "index": 0, "delta": delta}],
        "created": 7,
        "id": "c-1",
        "model": model,
        "object": "chat.completion.chunk",
        **more,
    }
    return b"data: " + json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode() + b"\n\n"


USAGE = {"completion_tokens": 3, "prompt_tokens": 5, "total_tokens": 8, "prompt_tokens_details": {"cached_tokens": 2}}
TIMINGS = {"prompt_ms": 1.0, "predicted_ms": 2.0}
COUNTS = Counts(input_tokens=5, cached_tokens=2, output_tokens=3, prefill_us=1000, decode_us=2000)
LAST = chunk(choices=[], usage=USAGE, timings=TIMINGS)
TEXTS = ["", "Hé", ' "usage":{ [DONE] \n\ndata: x', "🙂", ',"usage":null']
STREAM = b"".join(chunk(text) for text in TEXTS) + chunk(None, "stop") + LAST + DONE


def run(pieces: list[bytes], *, include_usage: bool = False, dialect: str = "llama_cpp", model: str = "m"):
    scanner, meter = EventScanner(), StreamMeter(include_usage=include_usage, dialect=dialect, model=model)
    out = b"".join(meter.feed(block) for piece in pieces if (block := scanner.feed(piece)))
    return out, meter


def texts(out: bytes) -> list[str]:
    chunks = [json.loads(event[6:]) for event in out.split(b"\n\n") if event]
    return [c["choices"][0]["delta"]["content"] for c in chunks if "content" in c["choices"][0]["delta"]]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(0, len(STREAM)), max_size=12), st.booleans())
def test_a_stream_cut_anywhere_reads_the_same(cuts: list[int], crlf: bool):
    """Texts, counts and the end do not depend on how the bytes arrive, nor on the form of the line ends."""
    stream = STREAM.replace(b"\n\n", b"\r\n\r\n") if crlf else STREAM
    places = sorted({0, len(stream), *(min(cut, len(stream)) for cut in cuts)})
    out, meter = run([stream[a:b] for a, b in itertools.pairwise(places)])
    assert texts(out) == TEXTS
    assert (meter.counts, meter.done, meter.failed, meter.pieces) == (COUNTS, True, "", len(TEXTS) + 1)
    assert b'"usage":{"' not in out
    assert b'"model":"file"' not in out
    assert not out.endswith(DONE)


def test_the_usual_block_is_passed_on_as_it_is():
    """The same object: no work per event."""
    meter = StreamMeter(include_usage=False, dialect="llama_cpp")
    meter.feed(chunk("a"))
    block = chunk("b") + chunk("c")
    assert meter.feed(block) is block
    assert meter.pieces == 3


def test_usage_is_sent_only_where_asked_for_and_as_recorded():
    """The tail is made of the counts that were recorded, not of what the engine said."""
    _, meter = run([STREAM])
    assert meter.tail(COUNTS) == DONE
    _, meter = run([STREAM], include_usage=True)
    usage, done, _ = meter.tail(Counts(input_tokens=1, output_tokens=2)).split(b"\n\n")
    assert json.loads(usage[6:]) == {
        "id": "c-1",
        "object": "chat.completion.chunk",
        "created": 7,
        "model": "m",
        "choices": [],
        "usage": {
            "prompt_tokens": 1,
            "completion_tokens": 2,
            "total_tokens": 3,
            "prompt_tokens_details": {"cached_tokens": 0},
        },
    }
    assert done == b"data: [DONE]"


def test_usage_null_is_taken_out_unless_asked_for():
    """OpenAI sends the key only where usage was asked for."""
    stream = [chunk("a"), chunk("b", usage=None), LAST]
    assert b"usage" not in run(stream)[0]
    assert b'"usage":null' in run(stream, include_usage=True)[0]


def test_usage_on_the_last_chunk_with_a_choice_is_taken_off_it():
    """Some engines send no chunk of its own for it."""
    out, meter = run([chunk("a"), chunk(None, "stop", usage=USAGE, timings=TIMINGS), DONE])
    assert meter.counts == COUNTS
    assert b"usage" not in out
    assert b"timings" not in out
    assert json.loads(out.split(b"\n\n")[1][6:])["choices"][0]["finish_reason"] == "stop"


def test_a_usage_for_each_choice_is_summed():
    """llama.cpp sends one for each of n, and says null first when there are several prompts."""
    meter = StreamMeter(include_usage=False, dialect="llama_cpp", choices=4, prompts=2)
    meter.feed(b"data: null\n\n" + chunk("a"))
    for _ in range(3):
        meter.feed(LAST)
        assert meter.counts is None
    meter.feed(LAST)
    assert meter.counts == Counts(input_tokens=10, cached_tokens=4, output_tokens=12, prefill_us=4000, decode_us=8000)


@pytest.mark.parametrize(
    "bad",
    [
        b'data: {"error":{"message":"secret","code":500}}\n\n',
        b'data: {"message":"200 with something else"}\n\n',
        b"data: hello\n\n",
        b"data: [1]\n\n",
        b"data: " + b"[" * 100_000 + b"\n\n",
        chunk("x").replace(b"x", b"\xff"),
        b'error: {"code":500}\ndata: {"error":"x"}\n\n',
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_an_error_or_garbage_ends_the_stream(bad: bytes, first: bool):
    """What came before is kept; nothing of it and nothing after it is sent on."""
    out, meter = run([bad, chunk("z")] if first else [chunk("a"), bad, chunk("z")])
    assert meter.failed
    assert not meter.done
    assert texts(out) == ([] if first else ["a"])


@pytest.mark.parametrize("lie", [-1, 1.5, "3", 10**12, None, {}])
def test_a_lie_about_usage_is_no_count_and_costs_no_text(lie: object):
    """The text that came with it is sent; the gateway counts by itself."""
    out, meter = run([chunk("a"), chunk("b", usage={**USAGE, "completion_tokens": lie}), DONE])
    assert texts(out) == ["a", "b"]
    assert (meter.counts, meter.done, meter.failed) == (None, True, "")
    assert b"usage" not in out


def test_nothing_after_done_is_sent_on():
    """Also when it comes in the same block."""
    out, meter = run([chunk("a") + DONE + chunk("b"), chunk("c")])
    assert texts(out) == ["a"]
    assert meter.done


def test_comments_are_not_sent_on_and_not_counted():
    """Keep-alives are each hop's own."""
    out, meter = run([b": ping\n\n", chunk("a"), b": ping\n\n" + chunk("b"), b": x\n" + chunk("c")])
    assert texts(out) == ["a", "b", "c"]
    assert meter.pieces == 3


def test_an_endless_event_is_refused_in_bounded_memory():
    """By the scanner, at its bound."""
    scanner = EventScanner(max_bytes=1000)
    for _ in range(1000):
        assert scanner.feed(b"x") == b""
    with pytest.raises(errors.Transient):
        scanner.feed(b"x")
    assert scanner.pending == 1001


def test_what_was_cut_is_known():
    """Bytes of an event that has not ended."""
    scanner = EventScanner()
    assert scanner.feed(b"data: 1\n\ndata: ") == b"data: 1\n\n"
    assert scanner.pending == 6


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=60), st.sampled_from([chunk("a"), LAST, DONE, b"\n\n", b"data: "]))))
def test_no_bytes_break_it(pieces: list[bytes]):
    """Whatever an engine sends, what is sent on is whole events of valid UTF-8."""
    out, meter = run(pieces)
    out.decode()
    assert not out or out.endswith(b"\n\n")
    assert meter.pieces >= 0
