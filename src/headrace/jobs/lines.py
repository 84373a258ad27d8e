"""The input of a batch: JSON lines, each checked before anything is asked of a model; what is off is named by line."""

from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from headrace.jobs.batch import ERRORS_MAX, LineError
from headrace.specs.problem import closest

LINES_MAX: Final = 100_000
LINE_BYTES_MAX: Final = 16 << 20  # what a gateway takes as a body
CUSTOM_ID_MAX: Final = 512


class Line(msgspec.Struct):
    """One request, in OpenAI's form."""

    custom_id: str
    method: str
    url: str
    body: msgspec.Raw


class _Body(msgspec.Struct):
    model: str
    stream: Any = False


class Input(msgspec.Struct, kw_only=True):
    """A file that was read. `starts`: where each request begins, one more for the end. `model`: when all name one."""

    starts: "array[int]"
    errors: list[LineError]
    model: str = ""


_LINE: Final = msgspec.json.Decoder(Line)
_BODY: Final = msgspec.json.Decoder(_Body)


def check(file: Path, endpoint: str, models: set[str] | None) -> Input:
    """Read all of a batch's input; at most ERRORS_MAX errors are told. Blocks: call it in a thread.

    `models`: those that the key may use; None for a file that was checked before.
    """
    found = Input(starts=array("Q"), errors=[])
    checker = _Checker(endpoint, models)
    at = 0
    with file.open("rb") as source:
        for number, text in enumerate(_lines(source.readline), 1):
            if text.strip():
                found.starts.append(at)
                found.errors.extend(checker.problems(number, text))
            at += len(text)
            if len(found.errors) >= ERRORS_MAX or len(found.starts) > LINES_MAX:
                break
    found.starts.append(at)
    requests = len(found.starts) - 1
    if requests > LINES_MAX:
        found.errors.append(LineError(code="too_many_requests", message=f"the file has more than {LINES_MAX} lines"))
    elif not requests:
        found.errors.append(LineError(code="empty_file", message="the file has no request; write one a line"))
    found.model = next(iter(checker.named)) if len(checker.named) == 1 else ""
    return found


def request(text: bytes) -> Line:
    """A line that was checked."""
    return _LINE.decode(text)


class _Checker:
    """What has been seen of a file."""

    def __init__(self, endpoint: str, models: set[str] | None) -> None:
        self._endpoint, self._models = endpoint, models
        self._seen: dict[str, int] = {}
        self.named: set[str] = set()

    def problems(self, number: int, text: bytes) -> Iterator[LineError]:
        """What is off with a line."""

        def off(code: str, message: str, param: str) -> LineError:
            return LineError(code=code, message=message, line=number, param=param)

        if len(text) > LINE_BYTES_MAX:
            yield off("line_too_long", f"the line has more than {LINE_BYTES_MAX >> 20} MiB", "body")
            return
        try:
            line = _LINE.decode(text)
            body = _BODY.decode(line.body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            yield off("invalid_json_line", f"the line cannot be used: {error}", "")
            return
        before = self._seen.setdefault(line.custom_id, number)
        if not 1 <= len(line.custom_id) <= CUSTOM_ID_MAX:
            yield off("invalid_custom_id", f"custom_id has 1 to {CUSTOM_ID_MAX} characters", "custom_id")
        elif before != number:
            message = f"custom_id {line.custom_id[:60]!r} is that of line {before}, too; give each line its own"
            yield off("duplicate_custom_id", message, "custom_id")
        if line.method != "POST":
            yield off("invalid_method", f"method is {line.method[:20]!r}; give POST", "method")
        if line.url != self._endpoint:
            message = f"url is {line.url[:60]!r}; the batch was made for {self._endpoint}"
            yield off("invalid_url", message, "url")
        if body.stream:
            yield off("unsupported_value", "a batch answers whole; leave out stream", "body.stream")
        yield from self._model(body.model, off)

    def _model(self, model: str, off: Callable[[str, str, str], LineError]) -> Iterator[LineError]:
        if model in self.named or self._models is None:
            return
        if model.partition("@")[0] not in self._models and not model.startswith("pipeline/"):
            known = closest(model, self._models)
            yield off("model_not_found", f"there is no model {model[:60]!r}{known}; see: headrace models", "body.model")
            return
        self.named.add(model)


def _lines(readline: Callable[[int], bytes]) -> Iterator[bytes]:
    while text := readline(LINE_BYTES_MAX + 1):
        yield text
