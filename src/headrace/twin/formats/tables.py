"""Traces that are comma-separated tables: Azure's LLM traces, BurstGPT, and Headrace's own form.

What a heading means is told by its columns. Times are seconds or timestamps; only differences count.
"""

import csv
import re
from collections.abc import Iterable, Sequence
from typing import IO, Any, Final

import msgspec
import numpy as np

from headrace.errors import Invalid
from headrace.twin.formats.columns import LINE_BYTES_MAX, Block, blocks
from headrace.twin.trace import DTYPES, PRIORITIES, ROWS_MAX, TOKENS_MAX, Trace, trace_of


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """Which column holds what. `zero_output` is how requests without an answer are treated: left out, or kept."""

    name: str
    time: str
    input: str
    output: str
    model: str = ""
    tenant: str = ""
    priority: str = ""
    prefix: str = ""
    prefix_tokens: str = ""
    zero_output_left_out: bool = False


FORMS: Final = (
    Form(name="headrace", time="arrival_s", input="input_tokens", output="output_tokens", model="model",
         tenant="tenant", priority="priority", prefix="prefix", prefix_tokens="prefix_tokens"),
    Form(name="azure", time="TIMESTAMP", input="ContextTokens", output="GeneratedTokens"),
    Form(name="burstgpt", time="Timestamp", input="Request tokens", output="Response tokens", model="Model",
         zero_output_left_out=True),
    Form(name="plain", time="t_s", input="input_tokens", output="output_tokens", model="model", tenant="tenant"),
)  # fmt: skip


def form_of(heading: Sequence[str]) -> Form | None:
    """The form whose columns a heading has."""
    names = set(heading)
    return next((form for form in FORMS if {form.time, form.input, form.output} <= names), None)


def read(file: IO[bytes], source: str, name: str | None = None) -> Trace:
    """Read a table, of the form called `name` or told by its heading. Raises Invalid with file, line, field and value.

    Lines before the heading that begin with `#` are remarks; `span_us=N` in one is how long the trace was observed,
    its arrivals being counted from 0 then.
    """
    line, span_us = 1, 0
    head = file.readline(LINE_BYTES_MAX).decode("utf-8-sig", "replace")
    while head.startswith("#"):
        span_us = int((re.findall(r"\bspan_us=(\d{1,18})\b", head) or [span_us])[-1])
        line += 1
        head = file.readline(LINE_BYTES_MAX).decode("utf-8", "replace")
    heading = [cell.strip() for cell in next(csv.reader([head]), [])]
    form = next((form for form in FORMS if form.name == name), None) if name else form_of(heading)
    if form is None or not {form.time, form.input, form.output} <= set(heading):
        raise Invalid(
            f"the heading {head.strip()[:120]!r} is of no {name or 'known'} trace{_hint(head)}; there are "
            + "; ".join(f"{form.name}: {form.time},{form.input},{form.output}" for form in FORMS)
            + "; mooncake: JSON lines of timestamp, input_length, output_length",
            where=f"{source}:{line}",
        )
    if twice := next((cell for cell in heading if heading.count(cell) > 1 and cell), ""):
        raise Invalid(f"the column {twice!r} is there twice; leave one out", where=f"{source}:{line}")
    return _Reader(form, heading, source).read(blocks(file, source, len(heading), line=line + 1), span_us)


def _hint(head: str) -> str:
    """What may be wrong with a heading."""
    if "\x00" in head or "\ufffd" in head:
        return ", or is no UTF-8: save it as UTF-8"
    for letter, said in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if head.count(letter) >= 2 and form_of([cell.strip() for cell in head.split(letter)]) is not None:
            return f", but would be one with commas instead of {said}"
    return ""


class _Reader:
    """One table: columns as arrays, block by block, and names as places."""

    def __init__(self, form: Form, heading: list[str], source: str) -> None:
        self._form, self._source = form, source
        self._at = {name: at for at, name in enumerate(heading)}
        self._names: dict[str, dict[str, int]] = {"model": {}, "tenant": {}}
        self._left_out = 0

    def read(self, found: Iterable[Block], span_us: int) -> Trace:
        parts: list[dict[str, Any]] = []
        count = 0
        for block in found:
            parts.append(self._columns(block))
            count += len(block)
            if count > ROWS_MAX:
                raise Invalid(f"more than {ROWS_MAX} requests; give a part of the trace", where=self._source)
        names = parts[0] if parts else ("arrival_us", "input_tokens", "output_tokens")
        columns: dict[str, Any] = {
            name: np.concatenate([part[name] for part in parts]) if parts else np.empty(0, np.int64) for name in names
        }
        parts.clear()
        return trace_of(
            columns,
            models=list(self._names["model"]) or ("model",),
            tenants=list(self._names["tenant"]) or ("tenant",),
            span_us=span_us,
            notes=[f"{self._left_out} requests without an answer were left out."] if self._left_out else [],
            source=self._source,
        )

    def _columns(self, block: Block) -> dict[str, Any]:
        """What is known of a block's requests, by the names of a trace's columns."""
        form, at = self._form, self._at
        output = block.integers(at[form.output], form.output, high=TOKENS_MAX)
        if form.zero_output_left_out and not output.all():
            self._left_out += int((output == 0).sum())
            block, output = block.select(output > 0), output[output > 0]
        columns = {
            "arrival_us": block.moments_us(at[form.time], form.time),
            "input_tokens": block.integers(at[form.input], form.input, high=TOKENS_MAX),
            "output_tokens": output,
        }
        for field, known in self._names.items():
            title = getattr(form, field)
            if title in at:
                columns[field] = block.names(at[title], title, known)
        if form.priority in at:
            known = {name: place for place, name in enumerate(PRIORITIES)}
            place = block.names(at[form.priority], form.priority, known)
            block.refuse(place >= len(PRIORITIES), at[form.priority], form.priority, f"one of {', '.join(PRIORITIES)}")
            columns["priority"] = place
        if form.prefix in at and form.prefix_tokens in at:
            columns["prefix"] = block.integers(at[form.prefix], form.prefix, low=-1)
            columns["prefix_tokens"] = block.integers(at[form.prefix_tokens], form.prefix_tokens, high=TOKENS_MAX)
        return {name: column.astype(DTYPES[name]) for name, column in columns.items()}
