"""Counts: an engine's figures are taken when they can be true."""

import json

import pytest

from headrace.wire.usage import Counts, counts_of, plausible

USAGE = {"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14}


def body(**more: object) -> bytes:
    return json.dumps({"choices": [], "usage": USAGE, **more}).encode()


def test_each_dialect_is_read():
    """llama.cpp has timings, our runners have microseconds, rerankers the total alone."""
    assert counts_of(body(), "vllm") == Counts(input_tokens=10, output_tokens=4)
    timed = body(timings={"cache_n": 7, "prompt_ms": 1.25, "predicted_ms": 3})
    assert counts_of(timed, "llama_cpp") == Counts(
        input_tokens=10, cached_tokens=7, output_tokens=4, prefill_us=1250, decode_us=3000
    )
    ours = body(usage={"prompt_tokens": 2, "total_tokens": 2, "prefill_us": 9}, data=[1, 2, 3])
    assert counts_of(ours, "headrace") == Counts(input_tokens=2, items=3, prefill_us=9)
    assert counts_of(body(usage={"total_tokens": 8}, results=[{}]), "openai") == Counts(input_tokens=8, items=1)


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        [],
        {"prompt_tokens": -1},
        {"prompt_tokens": 1.5},
        {"prompt_tokens": "1"},
        {"prompt_tokens": True},
        {"prompt_tokens": 10**10},
        {**USAGE, "total_tokens": 15},
        {**USAGE, "completion_tokens": -4},
        {**USAGE, "prompt_tokens_details": {"cached_tokens": 11}},
    ],
)
def test_a_lie_is_no_count(usage: object):
    """Negative, not whole, absurd, or at odds with itself."""
    assert counts_of(body(usage=usage), "vllm") is None


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff", b"[" * 100_000, b"[]", b'{"usage":NaN}'])
def test_garbage_is_no_count(raw: bytes):
    """And no exception."""
    assert counts_of(raw, "llama_cpp") is None


def test_times_that_cannot_be_are_no_count():
    """A negative duration is as much a lie as a negative token."""
    assert counts_of(body(timings={"prompt_ms": -1}), "llama_cpp") is None


@pytest.mark.parametrize(
    ("output", "pieces", "expected"),
    [(16, 18, True), (17, 0, True), (18, 0, False), (0, 100, False), (3, 10, True), (0, 2, True)],
)
def test_counts_must_fit_what_was_seen(output: int, pieces: int, expected: bool):
    """Not more than the limit that was set, not far fewer than the pieces that came."""
    counts = Counts(input_tokens=10, output_tokens=output)
    assert plausible(counts, pieces=pieces, choices=1, input_bytes=100, output_max=16) is expected


def test_the_input_is_bounded_by_the_bytes_sent():
    """Templates included, with room."""
    counts = Counts(input_tokens=5000, output_tokens=1)
    assert not plausible(counts, pieces=0, choices=1, input_bytes=100, output_max=16)
