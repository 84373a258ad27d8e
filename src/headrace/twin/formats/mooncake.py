"""Mooncake's traces: JSON lines of a time in milliseconds, lengths, and hashes of the prompt's blocks of 512 tokens.

Requests whose first blocks are the same share a prefix: the longest that some other request of the trace has as well.
Source: kvcache-ai/Mooncake, FAST25-release/traces (Apache-2.0).
"""

from collections import Counter
from collections.abc import Iterable
from typing import Final

import msgspec

from headrace.errors import Invalid
from headrace.twin.trace import Trace, trace_of

BLOCK_TOKENS: Final = 512


class _Row(msgspec.Struct):
    timestamp: float
    input_length: int
    output_length: int
    hash_ids: list[int] = []


def matches(line: str) -> bool:
    """Whether a first line is of this kind."""
    return line.startswith("{") and '"input_length"' in line


def read(lines: Iterable[str], source: str) -> Trace:
    """Read JSON lines. Raises Invalid with file, line and what is wrong."""
    decode = msgspec.json.Decoder(_Row).decode
    rows: list[_Row] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = decode(line)
        except msgspec.MsgspecError as error:
            raise Invalid(f"{error}; correct the line or leave it out", where=f"{source}:{number}") from None
        if row.timestamp < 0 or row.input_length < 0 or row.output_length < 0:
            raise Invalid("a time or a length is below 0; correct the line or leave it out", where=f"{source}:{number}")
        rows.append(row)
    shared: Counter[tuple[int, int]] = Counter()
    for row in rows:
        shared.update((depth, block) for depth, block in enumerate(row.hash_ids))
    prefixes: dict[tuple[int, int], int] = {}
    columns: dict[str, list[int]] = {
        name: [] for name in ("arrival_us", "input_tokens", "output_tokens", "prefix", "prefix_tokens")
    }
    for row in rows:
        depth = 0
        while depth < len(row.hash_ids) and shared[depth, row.hash_ids[depth]] > 1:
            depth += 1
        columns["arrival_us"].append(round(row.timestamp * 1000))
        columns["input_tokens"].append(row.input_length)
        columns["output_tokens"].append(row.output_length)
        last = (depth - 1, row.hash_ids[depth - 1]) if depth else None
        columns["prefix"].append(prefixes.setdefault(last, len(prefixes)) if last else -1)
        columns["prefix_tokens"].append(min(depth * BLOCK_TOKENS, row.input_length))
    return trace_of({**columns}, source=source)
