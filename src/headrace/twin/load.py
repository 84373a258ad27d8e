"""A trace by what a person writes: a file of a known form, packed or not, `generate:...` or `servegen:...`."""

import gzip
import io
import zlib
from pathlib import Path
from typing import IO, Final, cast

from headrace.errors import Invalid
from headrace.twin import generate
from headrace.twin.formats import mooncake, servegen, tables
from headrace.twin.trace import Trace

BYTES_MAX: Final = 4 << 30
PEEK_BYTES: Final = 4096
FORMATS: Final = ("mooncake", "servegen", *(form.name for form in tables.FORMS))


def load(source: str, form: str | None = None, seed: int = 0) -> Trace:
    """The trace. Raises Invalid (404) when the file is not there, Invalid when it is no trace."""
    if source.startswith("generate:"):
        return generate.generate(*generate.parse(source.removeprefix("generate:")), seed)
    if source.startswith("servegen:"):
        return servegen.read(*servegen.parse(source.removeprefix("servegen:")), seed)
    if form is not None and form not in FORMATS:
        raise Invalid(f"format is {form!r}; give one of {', '.join(FORMATS)}, or leave it out")
    path = Path(source)
    try:
        if path.stat().st_size > BYTES_MAX:
            raise Invalid(f"{source} is larger than {BYTES_MAX >> 30} GiB; give a part of it")
        with path.open("rb") as file:
            magic = file.read(4)
        if form == "servegen" or magic == b"PAR1":
            return servegen.read(source, seed=seed)
        packed = magic.startswith(b"\x1f\x8b")
        with gzip.open(path) if packed else path.open("rb") as file:
            return _read(file, source, form)
    except FileNotFoundError:
        meant = f"; did you mean generate:{source.replace(':', ',', 1)}?" if _is_kind(source) else ""
        raise Invalid(f"there is no file {source}{meant}", status=404) from None
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise Invalid(f"{source} cannot be read: {error}") from None


def _is_kind(source: str) -> bool:
    """Whether it begins with what can be generated."""
    return source.replace(":", ",", 1).partition(",")[0] in generate.KINDS


def _read(file: gzip.GzipFile | io.BufferedReader, source: str, form: str | None) -> Trace:
    start = file.peek(PEEK_BYTES).removeprefix(b"\xef\xbb\xbf")
    if not start.strip():
        raise Invalid("there is no request in this trace; choose another file", where=source)
    if form == "mooncake" or (form is None and mooncake.matches(start.decode("utf-8", "replace"))):
        return mooncake.read((line.decode("utf-8-sig") for line in file), source)
    return tables.read(cast(IO[bytes], file), source, form)
