"""Choices of one answer that were made by several calls of engines: their events in one stream, their counts in one.

A part is a call for one choice; its `place` is that choice's index in the answer.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from headrace import errors
from headrace.wire.usage import Counts

_SEED_LEAST: Final = -(2**63)
_KINDS: Final = {
    "chat.completions": ("chatcmpl", "chat.completion.chunk"),
    "completions": ("cmpl", "text_completion"),
}


def check(made: int, asked: int) -> None:
    """An engine's answer to a part has the choices that were asked for. Raises Transient."""
    if made != asked:
        raise errors.Transient(f"the engine gave {made} choices where {asked} were asked for")


def seed_of(seed: int | None, copy: int) -> int | None:
    """The seed of a copy, so that copies differ and each can be had again; past the last number it begins anew.

    >>> seed_of(7, 2), seed_of(2**63 - 1, 1) == -(2**63), seed_of(None, 1)
    (9, True, None)
    """
    return None if seed is None else (seed + copy - _SEED_LEAST) % 2**64 + _SEED_LEAST


def relabel(block: bytes, place: int, name: str, created_s: int) -> bytes:
    """Whole events of one part's stream as those of the whole stream: its id and moment, and the choice's own index.

    Comments and `[DONE]` are left out; the stream has its own.
    """
    kept = []
    for event in block.split(b"\n\n"):
        if not event.startswith(b"data: {"):
            continue
        chunk = msgspec.json.decode(event[6:])
        chunk["id"], chunk["created"] = name, created_s
        for choice in chunk["choices"]:
            choice["index"] += place
        kept.append(b"data: " + msgspec.json.encode(chunk) + b"\n\n")
    return b"".join(kept)


def named(endpoint: str, request_id: str) -> str:
    """The id of an answer that several engines had a part in."""
    return f"{_KINDS[endpoint][0]}-{request_id}"


def tail(endpoint: str, request_id: str, created_s: int, model: str, counts: Counts | None) -> bytes:
    """What ends a stream of several parts: the usage chunk, if there are counts to show, and `[DONE]`."""
    done = b"data: [DONE]\n\n"
    if counts is None:
        return done
    kind = _KINDS[endpoint][1]
    shell = {"id": named(endpoint, request_id), "object": kind, "created": created_s, "model": model, "choices": []}
    return b"data: " + msgspec.json.encode({**shell, "usage": counts.usage()}) + b"\n\n" + done


def total(tries: Iterable[Sequence[Counts]], prompts: int = 1) -> Counts:
    """The counts of an answer from those of its parts, in the order of places; of each, all of its tries.

    What was written counts wherever it was written. A prompt counts once, however many choices were made of it: as the
    part that found least of it in a cache read it. A question that was asked again is another prompt.

    >>> a = Counts(input_tokens=9, output_tokens=4)
    >>> total([[a], [Counts(input_tokens=9, cached_tokens=8, output_tokens=5)]])
    Counts(input_tokens=9, cached_tokens=0, output_tokens=9, items=0, prefill_us=0, decode_us=0, bill=None)
    """
    every = [list(each) for each in tries]
    copies = max(1, len(every) // prompts)
    read: list[Counts] = []
    for start in range(0, len(every), copies):
        firsts = [each[0] for each in every[start : start + copies] if each]
        if firsts:
            read.append(max(firsts, key=lambda counts: counts.input_tokens - counts.cached_tokens))
    read += [counts for each in every for counts in each[1:]]
    written = [counts for each in every for counts in each]
    return Counts(
        input_tokens=sum(counts.input_tokens for counts in read),
        cached_tokens=sum(counts.cached_tokens for counts in read),
        output_tokens=sum(counts.output_tokens for counts in written),
        prefill_us=sum(counts.prefill_us for counts in written),
        decode_us=sum(counts.decode_us for counts in written),
    )
