"""`multipart/form-data` (RFC 7578), read strictly and written: how clients send files, and foreign servers get them.

Pure, on a whole body. Refused: no boundary, a part without a name, a name twice that may stand once, too many parts,
a body that does not end as it began. Nothing is decoded: a part's bytes are taken as they stand.
"""

import re
from typing import Final

import msgspec

from headrace import errors
from headrace.wire.fault import suggestion

PARTS_MAX: Final = 64
_HEAD_BYTES_MAX: Final = 2_048
_BOUNDARY: Final = re.compile(rb'boundary=(?:"([!-!#-~ ]{1,70})"|([!#$%&\'*+\-.^_`|~0-9A-Za-z:=/?()]{1,70}))')
_PARAMETER: Final = re.compile(rb';[ \t]*([a-z]+\*?)=(?:"((?:[^"\\\r\n]|\\.)*)"|([^;\s"]+))', re.IGNORECASE)


class Part(msgspec.Struct, frozen=True):
    """One field. `filename` is None for one that is not a file."""

    name: str
    data: bytes
    filename: str | None = None


class Form:
    """What was sent, by name."""

    def __init__(self, parts: list[Part]) -> None:
        self._parts = parts

    def known(self, *names: str) -> None:
        """Refuse a field that is none of these."""
        for part in self._parts:
            if part.name not in names:
                shown = part.name[:64]
                raise errors.Invalid(
                    f"Unrecognized request argument supplied: {shown}.{suggestion(shown, list(names))}",
                    param=shown,
                    code="unknown_parameter",
                )

    def text(self, name: str, limit: int = 4_096) -> str | None:
        """A field that may stand once, as text; None when it is not there or empty."""
        found = [part for part in self._parts if part.name == name]
        if len(found) > 1:
            raise errors.Invalid(f"'{name}' stands {len(found)} times; give it once.", param=name)
        if not found or not found[0].data:
            return None
        if len(found[0].data) > limit:
            raise errors.Invalid(f"'{name}' has {len(found[0].data)} bytes; the limit is {limit}.", param=name)
        try:
            return found[0].data.decode()
        except UnicodeDecodeError:
            raise errors.Invalid(f"'{name}' is not valid UTF-8.", param=name) from None

    def texts(self, name: str) -> list[str]:
        """A field that may stand several times, also as `name[]`."""
        return [_utf8(part) for part in self._parts if part.name in (name, f"{name}[]")]

    def number(self, name: str, low: float, high: float) -> float | None:
        """A field as a number within bounds."""
        said = self.text(name, 64)
        if said is None:
            return None
        try:
            value = float(said)
        except ValueError:
            raise errors.Invalid(f"Invalid value for '{name}': {said!r} is no number.", param=name) from None
        if not low <= value <= high:
            raise errors.Invalid(f"Invalid value for '{name}': {said}; give {low:g} to {high:g}.", param=name)
        return value

    def files(self, name: str) -> list[Part]:
        """Files of a field that may stand several times, also as `name[]`."""
        return [part for part in self._parts if part.name in (name, f"{name}[]")]

    def file(self, name: str) -> Part:
        """The one file of a field. Raises Invalid when there is none, or it is empty."""
        found = self.files(name)
        if len(found) != 1:
            if not found:
                raise missing(name)
            raise errors.Invalid(f"'{name}' stands {len(found)} times; give one file.", param=name)
        if not found[0].data:
            raise errors.Invalid(f"'{name}' is an empty file.", param=name)
        return found[0]


def missing(name: str) -> errors.Invalid:
    """A field that must be there."""
    return errors.Invalid(f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter")


def is_form(content_type: bytes) -> bool:
    """Whether a Content-Type says that a body is a form."""
    return content_type[:19].lower() == b"multipart/form-data"


def read(body: bytes, content_type: bytes) -> Form:
    """A body as a form. Raises Invalid."""
    if not is_form(content_type):
        shown = content_type[:60].decode("ascii", "replace") or "nothing"
        raise errors.Invalid(
            f"Send the body as multipart/form-data; its Content-Type is {shown}.",
            code="unsupported_media_type",
            status=415,
        )
    match = _BOUNDARY.search(content_type)
    if match is None:
        raise _malformed("its Content-Type names no boundary")
    mark = b"--" + (match[1] or match[2])
    at = 0 if body.startswith(mark) else body.find(b"\r\n" + mark) + 2
    if at < 2 and not body.startswith(mark):
        raise _malformed("its boundary is nowhere in it")
    parts: list[Part] = []
    while True:
        at += len(mark)
        after = body[at : at + 2]
        if after == b"--":
            return Form(parts)
        if after != b"\r\n":
            raise _malformed("a boundary is not followed by the end of its line")
        if len(parts) >= PARTS_MAX:
            raise errors.Invalid(f"The form has more than {PARTS_MAX} parts.", code="request_too_large", status=413)
        start = at + 2
        end = body.find(b"\r\n" + mark, start)
        if end < 0:
            raise _malformed("it ends in the middle of a part")
        parts.append(_part(body, start, end))
        at = end + 2


def write(parts: list[Part], boundary: bytes) -> bytes:
    """A form as a body. `boundary` must stand in no part.

    >>> write([Part("a", b"1"), Part("f", b"x", "x.wav")], b"B").count(b"--B")
    3
    """
    lines: list[bytes] = []
    for part in parts:
        named = f'; filename="{part.filename}"' if part.filename is not None else ""
        kind = "\r\nContent-Type: application/octet-stream" if part.filename is not None else ""
        head = f'Content-Disposition: form-data; name="{part.name}"{named}{kind}'
        lines += [b"--" + boundary, b"\r\n", head.encode(), b"\r\n\r\n", part.data, b"\r\n"]
    return b"".join([*lines, b"--", boundary, b"--\r\n"])


def _part(body: bytes, start: int, end: int) -> Part:
    split = body.find(b"\r\n\r\n", start, min(end, start + _HEAD_BYTES_MAX))
    if split < 0:
        raise _malformed("a part has no head, or one that is too long")
    for line in body[start:split].split(b"\r\n"):
        field, _, value = line.partition(b":")
        if field.strip().lower() != b"content-disposition":
            continue
        if not value.strip().lower().startswith(b"form-data"):
            raise _malformed("a part is not form-data")
        found = {match[1].lower(): match[2] or match[3] or b"" for match in _PARAMETER.finditer(value)}
        name = _plain(found.get(b"name", b""))
        if not name:
            raise _malformed("a part has no name")
        filename = _plain(found[b"filename"]) if b"filename" in found else None
        return Part(name, body[split + 4 : end], filename)
    raise _malformed("a part has no Content-Disposition")


def _plain(value: bytes) -> str:
    """A quoted text without its escapes, at most 255 characters."""
    return value.replace(b'\\"', b'"').replace(b"%22", b'"').decode("utf8", "replace")[:255]


def _utf8(part: Part) -> str:
    try:
        return part.data.decode()
    except UnicodeDecodeError:
        raise errors.Invalid(f"'{part.name}' is not valid UTF-8.", param=part.name) from None


def _malformed(why: str) -> errors.Invalid:
    return errors.Invalid(f"The body is not a valid form: {why}.", code="invalid_value")
