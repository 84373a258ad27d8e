"""What a batch has answered so far: two files of JSON lines that are its journal and become its output and error files.

An answer is appended when it comes, so a killed runner loses none; a line that is torn or damaged is cut off with all
that follows it, and its requests are sent again with their Idempotency-Keys, which the gateways answer from memory.
"""

import os
from pathlib import Path
from typing import IO, Any, Final

import msgspec

from headrace.jobs.batch import Counts
from headrace.ports import SMALL_BYTES_MAX

OUTPUT, ERRORS = "output.jsonl", "errors.jsonl"


class Response(msgspec.Struct, kw_only=True):
    """What the gateway answered."""

    status_code: int
    request_id: str
    body: msgspec.Raw


class Money(msgspec.Struct, kw_only=True):
    """What it was charged; None where the gateway did not tell."""

    cost_nanousd: int | None


class Result(msgspec.Struct, kw_only=True):
    """One line of a result file, in OpenAI's form; `headrace` is ours."""

    id: str
    custom_id: str
    response: Response | None
    error: dict[str, str] | None
    headrace: Money


class _Details(msgspec.Struct):
    cached_tokens: int | None = 0


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    input_tokens_details: _Details | None = None


class _Body(msgspec.Struct):
    usage: _Usage | None = None


_RESULT: Final = msgspec.json.Decoder(Result)
_BODY: Final = msgspec.json.Decoder(_Body)


class Results:
    """The journal of one batch. `done` tells of each request, by its place in the input, whether it was answered.

    `large`: the places of large answers that an earlier runner wrote.
    """

    def __init__(self, folder: Path, batch: str, total: int) -> None:
        """Reads what an earlier runner wrote. Blocks: call it in a thread."""
        self.counts = Counts()
        self.done = bytearray(total)
        self.large: list[int] = []
        self._prefix = f"{batch.replace('batch_', 'batch_req_', 1)}_"
        self.paths = {name: folder / name for name in (OUTPUT, ERRORS)}
        for path in self.paths.values():
            self._read(path)
        self._files: dict[str, IO[bytes]] = {name: path.open("ab", 0) for name, path in self.paths.items()}

    def answered(self, place: int, custom_id: str, response: Response, charge_nanousd: int | None) -> None:
        """Note an answer of the gateway, good or bad."""
        self._add(place, custom_id, response, None, charge_nanousd)

    def failed(self, place: int, custom_id: str, code: str, message: str, charge_nanousd: int | None = None) -> None:
        """Note that a request was not answered, and why."""
        self._add(place, custom_id, None, {"code": code, "message": message}, charge_nanousd)

    def sync(self) -> None:
        """What was noted is on the disk when this returns. Blocks."""
        for file in self._files.values():
            os.fdatasync(file.fileno())

    def close(self) -> None:
        """Everything is on the disk when this returns. Blocks."""
        for file in self._files.values():
            if not file.closed:
                os.fsync(file.fileno())
                file.close()

    def _add(
        self, place: int, custom_id: str, response: Response | None, error: dict[str, str] | None, charge: int | None
    ) -> None:
        result = Result(id=f"{self._prefix}{place}", custom_id=custom_id, response=response, error=error,
                        headrace=Money(cost_nanousd=charge))  # fmt: skip
        good = response is not None and response.status_code == 200
        self._write(self._files[OUTPUT if good else ERRORS].fileno(), msgspec.json.encode(result) + b"\n")
        self._count(result, good)
        self.done[place] = 1

    def _write(self, file: int, text: bytes) -> None:
        """All of it or nothing. Raises OSError."""
        before, left = os.fstat(file).st_size, memoryview(text)
        try:
            while left:
                left = left[os.write(file, left) :]
        except OSError:
            os.ftruncate(file, before)
            raise

    def _count(self, result: Result, good: bool) -> None:
        counts, charge = self.counts, result.headrace.cost_nanousd
        counts.completed += good
        counts.failed += not good
        counts.charge_nanousd += charge or 0
        counts.unpriced += charge is None
        usage = _usage(result.response.body) if good and result.response is not None else None
        if usage is not None:
            details = usage.prompt_tokens_details or usage.input_tokens_details
            counts.input_tokens += usage.prompt_tokens or usage.input_tokens or 0
            counts.output_tokens += usage.completion_tokens or usage.output_tokens or 0
            counts.cached_tokens += (details.cached_tokens or 0) if details is not None else 0

    def _read(self, path: Path) -> None:
        good = path.name == OUTPUT
        sound = 0
        path.touch(0o600)
        with path.open("rb") as file:
            for text in file:
                result = _result(text)
                if result is None or not (place := self._place(result)) < len(self.done):
                    break
                if not self.done[place]:
                    self._count(result, good)
                self.done[place] = 1
                self.large += [place] if len(text) > SMALL_BYTES_MAX else []
                sound += len(text)
        os.truncate(path, sound)

    def _place(self, result: Result) -> int:
        number = result.id.removeprefix(self._prefix)
        return int(number) if number.isdigit() else len(self.done)


def _result(text: bytes) -> Result | None:
    if not text.endswith(b"\n"):
        return None
    try:
        return _RESULT.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _usage(body: Any) -> _Usage | None:
    try:
        return _BODY.decode(body).usage
    except msgspec.MsgspecError:
        return None
