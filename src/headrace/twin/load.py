"""A trace by what a person writes: a file of a known form, packed or not, or `generate:...`."""

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TextIO

from headrace.errors import Invalid
from headrace.twin import generate
from headrace.twin.formats import mooncake, tables
from headrace.twin.trace import Trace

BYTES_MAX: Final = 4 << 30
FORMATS: Final = ("mooncake", *(form.name for form in tables.FORMS))


def load(source: str, form: str | None = None, seed: int = 0) -> Trace:
    """The trace. Raises Invalid (404) when the file is not there, Invalid when it is no trace."""
    if source.startswith("generate:"):
        return generate.generate(*generate.parse(source.removeprefix("generate:")), seed)
    if form is not None and form not in FORMATS:
        raise Invalid(f"format is {form!r}; give one of {', '.join(FORMATS)}, or leave it out")
    path = Path(source)
    try:
        if path.stat().st_size > BYTES_MAX:
            raise Invalid(f"{source} is larger than {BYTES_MAX >> 30} GiB; give a part of it")
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        text = {"mode": "rt", "encoding": "utf-8-sig", "newline": ""}
        with gzip.open(path, **text) if packed else path.open(**text) as lines:  # type: ignore[call-overload] # "rt"
            return _read(lines, source, form)
    except FileNotFoundError:
        raise Invalid(f"there is no file {source}", status=404) from None
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise Invalid(f"{source} cannot be read: {error}") from None


def _read(lines: TextIO, source: str, form: str | None) -> Trace:
    first = lines.readline()
    if not first.strip():
        raise Invalid("there is no request in this trace; choose another file", where=source)

    def all_lines() -> Iterator[str]:
        yield first
        yield from lines

    if form == "mooncake" or (form is None and mooncake.matches(first)):
        return mooncake.read(all_lines(), source)
    return tables.read(all_lines(), source)
