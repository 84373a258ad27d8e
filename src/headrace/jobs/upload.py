"""A multipart form as it arrives: fields are collected, the one file goes to disk and is never held whole."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import IO, Final

import msgspec
from multipart import MultipartError, MultipartSegment, ParserLimitReached, PushMultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from headrace.errors import Invalid, Transient, Unreachable

FIELD_BYTES_MAX: Final = 64 << 10
PARTS_MAX: Final = 32
PIECE_BYTES: Final = 1 << 20


class Form(msgspec.Struct, kw_only=True):
    """What came. `filename` is empty when there was no file; `digest` and `size` are the file's."""

    fields: dict[str, str] = {}
    filename: str = ""
    content_type: str = ""
    digest: str = ""
    size: int = 0


async def receive(request: Request, into: Path, *, file: str, bytes_max: int) -> Form:
    """Read the form; its part named `file` goes to `into`. Raises Invalid that names what is wrong, and Transient."""
    content, options = parse_options_header(request.headers.get("content-type", ""))
    if content != "multipart/form-data" or not options.get("boundary"):
        raise Invalid("send the body as multipart/form-data", code="unsupported_media_type", status=415)
    parser = PushMultipartParser(options["boundary"], max_segment_size=bytes_max, max_segment_count=PARTS_MAX,
                                 strict=True)  # fmt: skip
    try:
        with into.open("wb") as out:
            return await _Receiver(parser, out, file).all(request.stream())
    except ParserLimitReached:
        limit = f"the limit is {bytes_max >> 20} MiB a file and {PARTS_MAX} parts"
        raise Invalid(f"the form is too large; {limit}", code="request_too_large", status=413, param=file) from None
    except MultipartError as error:
        raise Invalid(f"the form is malformed: {error}", code="invalid_body") from None
    except ClientDisconnect:
        raise Unreachable("the client has gone") from None
    except OSError as error:
        raise Transient(f"the file cannot be written: {error.strerror}", delay_us=1_000_000) from None


class _Receiver:
    """One form on its way."""

    def __init__(self, parser: PushMultipartParser, out: IO[bytes], file: str) -> None:
        self._parser, self._out, self._file = parser, out, file
        self._digest = hashlib.sha256()
        self._waiting = bytearray()
        self._field = bytearray()
        self._form = Form()
        self._part: MultipartSegment | None = None

    async def all(self, body: AsyncIterator[bytes]) -> Form:
        """To the end of the form, which is that of the body."""
        with self._parser:
            async with aclosing(body) as pieces:  # type: ignore[type-var]  # an async generator, said more loosely
                async for piece in pieces:
                    for result in self._parser.parse(piece):
                        self._take(result)
                    if len(self._waiting) >= PIECE_BYTES:
                        await self._write()
        await self._write()
        self._form.digest = self._digest.hexdigest()
        return self._form

    def _take(self, result: MultipartSegment | bytearray | None) -> None:
        if isinstance(result, MultipartSegment):
            self._part = result
            if result.name == self._file and result.filename is None:
                raise Invalid(f"{self._file} is a file: send its name too", param=self._file)
            if result.filename is not None and (result.name != self._file or self._form.filename):
                raise Invalid(f"send one file, named {self._file}", param=str(result.name)[:40])
            if result.filename is not None:
                self._form.filename, self._form.content_type = result.filename or "file", result.content_type or ""
            self._field = bytearray()
        elif result is None:
            if self._part is not None and self._part.filename is None:
                self._form.fields[self._part.name] = self._text(self._part.name)
            self._part = None
        elif self._part is not None and self._part.filename is not None:
            self._waiting += result
        else:
            self._field += result
            if len(self._field) > FIELD_BYTES_MAX:
                raise Invalid(f"a field of the form has more than {FIELD_BYTES_MAX >> 10} KiB", status=413)

    def _text(self, name: str) -> str:
        if name in self._form.fields:
            raise Invalid(f"{name[:40]} stands twice in the form", param=name[:40])
        try:
            return self._field.decode()
        except UnicodeDecodeError:
            raise Invalid(f"{name[:40]} is not UTF-8", param=name[:40]) from None

    async def _write(self) -> None:
        data, self._waiting = bytes(self._waiting), bytearray()
        if data:
            self._form.size += len(data)
            await asyncio.to_thread(self._put, data)

    def _put(self, data: bytes) -> None:
        self._digest.update(data)
        self._out.write(data)
