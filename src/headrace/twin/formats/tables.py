"""Traces that are comma-separated tables: Azure's LLM traces, BurstGPT, and Headrace's own form.

What a heading means is told by its columns. Times are seconds or timestamps; only differences count.
"""

import csv
import datetime
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Final

import msgspec

from headrace.errors import Invalid
from headrace.twin.trace import PRIORITIES, Trace, trace_of

ROWS_MAX: Final = 50_000_000
_SHOWN: Final = 40


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
    names = {name.strip() for name in heading}
    return next((form for form in FORMS if {form.time, form.input, form.output} <= names), None)


def read(lines: Iterable[str], source: str) -> Trace:
    """Read a table. Raises Invalid with file, line, field and value."""
    rows = csv.reader(lines)
    heading = [name.strip() for name in next(rows, [])]
    form = form_of(heading)
    if form is None:
        raise Invalid(
            f"the heading {','.join(heading)[:120]!r} is of no known trace; there are "
            + "; ".join(f"{form.name}: {form.time},{form.input},{form.output}" for form in FORMS),
            where=f"{source}:1",
        )
    return _Reader(form, heading, source).read(rows)


class _Reader:
    """One table: columns as lists, names as places."""

    def __init__(self, form: Form, heading: list[str], source: str) -> None:
        self._form, self._source, self._width = form, source, len(heading)
        place = {name: at for at, name in enumerate(heading)}
        self._at = {
            field: place.get(column, -1)
            for field, column in msgspec.structs.asdict(form).items()
            if isinstance(column, str)
        }

    def read(self, rows: Iterable[list[str]]) -> Trace:
        at, form = self._at, self._form
        arrival: list[int] = []
        sizes: dict[str, list[int]] = {"input_tokens": [], "output_tokens": []}
        more: dict[str, list[int]] = {name: [] for name in ("model", "tenant", "priority", "prefix", "prefix_tokens")}
        models: dict[str, int] = {}
        tenants: dict[str, int] = {}
        moment = _moments()
        left_out = 0
        for number, row in enumerate(rows, 2):
            if not row:
                continue
            if len(row) != self._width:
                self._refuse(number, "the line", f"{len(row)} fields", f"the heading has {self._width}")
            output = self._count(row[at["output"]], number, form.output)
            if form.zero_output_left_out and not output:
                left_out += 1
                continue
            try:
                arrival.append(moment(row[at["time"]]))
            except (ValueError, InvalidOperation):
                self._refuse(number, form.time, row[at["time"]], "a number of seconds, 0 or more, or a timestamp")
            sizes["input_tokens"].append(self._count(row[at["input"]], number, form.input))
            sizes["output_tokens"].append(output)
            if at["model"] >= 0:
                more["model"].append(models.setdefault(row[at["model"]], len(models)))
            if at["tenant"] >= 0:
                more["tenant"].append(tenants.setdefault(row[at["tenant"]], len(tenants)))
            if at["priority"] >= 0:
                more["priority"].append(self._priority(row[at["priority"]], number))
            if at["prefix"] >= 0 and at["prefix_tokens"] >= 0:
                more["prefix"].append(self._count(row[at["prefix"]], number, form.prefix, least=-1))
                more["prefix_tokens"].append(self._count(row[at["prefix_tokens"]], number, form.prefix_tokens))
        notes = [f"{left_out} requests without an answer were left out."] if left_out else []
        columns = {"arrival_us": arrival, **sizes, **{name: column for name, column in more.items() if column}}
        return trace_of(
            {**columns},
            models=list(models) or ("model",),
            tenants=list(tenants) or ("tenant",),
            notes=notes,
            source=self._source,
        )

    def _count(self, text: str, line: int, field: str, least: int = 0) -> int:
        try:
            value = int(text)
        except ValueError:
            try:
                exact = Decimal(text.strip())
                value = int(exact)
                if exact != value:
                    raise InvalidOperation
            except (InvalidOperation, ValueError, OverflowError):
                self._refuse(line, field, text, f"a whole number, {least} or more")
        if value < least:
            self._refuse(line, field, text, f"a whole number, {least} or more")
        return value

    def _priority(self, text: str, line: int) -> int:
        if text not in PRIORITIES:
            self._refuse(line, "priority", text, f"one of {', '.join(PRIORITIES)}")
        return PRIORITIES.index(text)

    def _refuse(self, line: int, field: str, found: str, must: str) -> None:
        told = f"is {found[:_SHOWN]!r}" if found else "is missing"
        raise Invalid(
            f"{field} {told}, and must be {must}; correct the line or leave it out",
            param=field,
            where=f"{self._source}:{line}",
        )


def _moments() -> Callable[[str], int]:
    """From the text of a time to microseconds: seconds as they are, timestamps since 1970."""

    def seconds(text: str) -> int:
        value = float(text)
        if not 0 <= value < 1e11:
            raise ValueError(text)
        return round(value * 1_000_000)

    def moment(text: str) -> int:
        try:
            return seconds(text)
        except ValueError:
            whole, _, part = text.strip().removesuffix("Z").removesuffix("+00:00").partition(".")
            at = datetime.datetime.fromisoformat(whole).replace(tzinfo=datetime.UTC)
            return int(at.timestamp()) * 1_000_000 + int((part + "000000")[:6] or 0)

    return moment
