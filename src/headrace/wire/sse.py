"""Server-sent events of an engine on their way to a client: cut at event ends, metered, the end withheld.

The gateway feeds what it reads to an `EventScanner` and each block of whole events to a `StreamMeter`, sends on what
that returns, and sends `tail` once the usage is durable. Most blocks hold nothing special and are passed on as they
are, without work per event. Nothing here keeps more than one event of bounded size.
"""

from typing import Any, Final

import msgspec

from headrace import errors
from headrace.wire import fault
from headrace.wire.usage import Counts, Figures, Timings, counts_from

EVENT_MAX_BYTES: Final = 1 << 20
DONE: Final = b"data: [DONE]\n\n"


class EventScanner:
    """Cuts a byte stream after its last whole event. Lines may end in LF or CRLF."""

    __slots__ = ("_max", "_rest")

    def __init__(self, max_bytes: int = EVENT_MAX_BYTES) -> None:
        self._rest = bytearray()
        self._max = max_bytes

    def feed(self, data: bytes) -> bytes:
        """Whole events so far, b"" when there is none. Raises Transient when one is larger than the bound."""
        if not self._rest and data.endswith(b"\n\n"):
            return data
        rest = self._rest
        start = max(0, len(rest) - 2)
        rest += data
        lf, crlf = rest.rfind(b"\n\n", start), rest.rfind(b"\n\r\n", start)
        end = max(lf + 2 if lf >= 0 else 0, crlf + 3 if crlf >= 0 else 0)
        if len(rest) - end > self._max:
            raise errors.Transient(f"an event of the engine is larger than {self._max} bytes")
        if not end:
            return b""
        block = bytes(rest[:end])
        del rest[:end]
        return block

    @property
    def pending(self) -> int:
        """Bytes of an event that has not ended; not 0 at the end of the stream means it was cut."""
        return len(self._rest)


class Chunk(msgspec.Struct, omit_defaults=True):
    """One chunk as it may be sent on: the declared fields of OpenAI's chunk, usage and timings taken out."""

    id: str = ""
    object: str = ""
    created: int = 0
    model: str = ""
    choices: list[msgspec.Raw] | None = None
    system_fingerprint: str | None = None
    service_tier: str | None = None
    usage: Figures | None = None
    timings: Timings | None = None
    error: Any = None


_CHUNK: Final = msgspec.json.Decoder(Chunk)


class StreamMeter:
    """Reads a stream's blocks of whole events. `model` is the name the client knows; the engine's is read off.

    `choices` of `prompts` are what the engine works on: llama.cpp sends a usage for each choice.
    `done`: the engine said it has finished. `failed`: why the stream cannot be trusted further ("" while it can).
    `counts`: the engine's own, if believable. `pieces`: events with content passed on; `items`: of what
    is metered in items, those that came with them.
    """

    __slots__ = (
        "_choices",
        "_dialect",
        "_first",
        "_from",
        "_include_usage",
        "_model",
        "_prompts",
        "_seen",
        "_to",
        "counts",
        "done",
        "failed",
        "items",
        "pieces",
    )

    def __init__(
        self,
        *,
        include_usage: bool,
        dialect: str,
        model: str = "",
        choices: int = 1,
        prompts: int = 1,
        upstream_model: str = "",  # noqa: ARG002 - read off the first chunk; kept until callers use `Call.meter`
    ) -> None:
        self._include_usage = include_usage
        self._dialect = dialect
        self._first: Chunk | None = None
        self._model = model
        self._choices = choices
        self._prompts = prompts
        self._seen: list[Counts] = []
        self._from = self._to = b""
        self.counts: Counts | None = None
        self.done = False
        self.failed = ""
        self.pieces = self.items = 0

    def feed(self, block: bytes) -> bytes:
        """What to send on of a block of whole events. Nothing more once `done` or `failed`."""
        if self._first is None or self.done or self.failed:
            return self._slow(block)
        events = block.count(b"}\n\ndata: {") + 1
        # Whole events of one line each, JSON objects by their ends, so no `[DONE]`. A quote inside a JSON text is
        # escaped, so the names never match an answer's own words.
        if (
            block.count(b"\n") != 2 * events
            or not block.startswith(b"data: {")
            or not block.endswith(b"}\n\n")
            or block.count(b'"choices"') != events
            or b'"error"' in block
        ):
            return self._slow(block)
        if b'"usage"' in block:
            if block.count(b'"usage"') != block.count(b',"usage":null'):
                return self._slow(block)
            if not self._include_usage:
                block = block.replace(b',"usage":null', b"")
        if not block.isascii():
            try:
                block.decode()
            except UnicodeDecodeError:
                return self._slow(block)
        self.pieces += events
        return block.replace(self._from, self._to) if self._from else block

    def tail(self, counts: Counts | None) -> bytes:
        """What follows once the usage is durable: the usage chunk with these counts if asked for, and `[DONE]`."""
        if not self._include_usage or counts is None:
            return DONE
        first = self._first or Chunk()
        chunk = {
            "id": first.id,
            "object": first.object,
            "created": first.created,
            "model": first.model,
            "choices": [],
            "usage": counts.usage(),
        }
        return b"data: " + msgspec.json.encode(chunk) + b"\n\n" + DONE

    def broken(self, code: str, message: str) -> bytes:
        """The last event of a stream that has begun and cannot be finished."""
        return fault.event(code, message)

    def _slow(self, block: bytes) -> bytes:
        """Event by event."""
        kept: list[bytes] = []
        for event in block.replace(b"\r\n", b"\n").split(b"\n\n"):
            if self.done or self.failed:
                break
            data = _data_of(event)
            if data is None or data == b"null":  # llama.cpp begins with one when there are several prompts
                continue
            if data == b"[DONE]":
                self.done = True
                break
            kept.append(self._event(data))
        return b"".join(kept)

    def _event(self, data: bytes) -> bytes:
        try:
            data.decode()
            chunk = _CHUNK.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return self._salvage(data)
        if chunk.error is not None or chunk.choices is None:
            self.failed = "the engine sent an error" if chunk.error is not None else "the engine sent no chunk"
            return b""
        return self._chunk(chunk)

    def _chunk(self, chunk: Chunk) -> bytes:
        if self._first is None:
            if self._model and chunk.model != self._model:
                self._from = b'"model":' + msgspec.json.encode(chunk.model)
                self._to = b'"model":' + msgspec.json.encode(self._model)
            self._first = chunk
        if self._model:
            chunk.model = self._model
        if chunk.usage is not None:
            self.counts = self._believed(counts_from(chunk.usage, chunk.timings, self._dialect))
        if not chunk.choices:
            return b""
        self.pieces += 1
        return self._told(chunk)

    def _told(self, chunk: Chunk) -> bytes:
        """A chunk with choices in the client's form."""
        shown = msgspec.structs.replace(chunk, usage=None, timings=None)
        return b"data: " + msgspec.json.encode(shown) + b"\n\n"

    def _salvage(self, data: bytes) -> bytes:
        """A chunk whose usage is of the wrong type is a chunk without usage; anything else is garbage."""
        try:
            data.decode()
            loose = msgspec.json.decode(data)
            chunk = msgspec.convert({k: v for k, v in loose.items() if k not in ("usage", "timings", "choices")}, Chunk)
            choices = loose["choices"]
            chunk.choices = [msgspec.Raw(msgspec.json.encode(choice)) for choice in choices]
        except (msgspec.MsgspecError, ValueError, RecursionError, AttributeError, KeyError, TypeError):
            self.failed = "the engine sent something that is not a chunk"
            return b""
        if chunk.error is not None:
            self.failed = "the engine sent an error"
            return b""
        return self._chunk(chunk)

    def _believed(self, counts: Counts | None) -> Counts | None:
        """The last usage counts; of llama.cpp's, all do, once there is one for each choice."""
        if self._choices == 1 or self._dialect != "llama_cpp":
            return counts
        if counts is not None:
            self._seen.append(counts)
        if len(self._seen) != self._choices:
            return None
        each = self._choices // self._prompts  # choices a prompt, whose tokens are counted once
        return Counts(
            input_tokens=sum(seen.input_tokens for seen in self._seen) // each,
            cached_tokens=sum(seen.cached_tokens for seen in self._seen) // each,
            output_tokens=sum(seen.output_tokens for seen in self._seen),
            prefill_us=sum(seen.prefill_us for seen in self._seen),
            decode_us=sum(seen.decode_us for seen in self._seen),
        )


def _data_of(event: bytes) -> bytes | None:
    """The data of one event; None for comments and empty ones, which are not passed on."""
    if event.startswith(b"data: ") and b"\n" not in event:
        return event[6:].strip()
    lines = [line[5:].removeprefix(b" ") for line in event.split(b"\n") if line.startswith(b"data:")]
    return b"\n".join(lines).strip() if lines else None
