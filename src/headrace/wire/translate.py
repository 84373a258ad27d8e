"""Streams for clients of other APIs: an engine's chunks taken apart into blocks that open, grow and close.

A block is a run of reasoning, of text, or one call of a tool; there is one open at a time. Subclasses tell what happens
in the events of their API. All text is kept, within a bound, because the closing events repeat it.
"""

from typing import Any, Final, Literal

import msgspec

from headrace import errors
from headrace.wire import answer
from headrace.wire.sse import Chunk, StreamMeter

KEPT_MAX: Final = 16 << 20  # characters
_PIECE: Final = 24  # characters of a piece when a whole answer is told as a stream


class Block(msgspec.Struct):
    """One part of an answer. `place` is its position from 0; `name` and `call_id` are of tool calls."""

    kind: Literal["reasoning", "text", "tool"]
    place: int
    name: str = ""
    call_id: str = ""
    pieces: list[str] = []
    logprobs: list[dict[str, Any]] = []

    @property
    def text(self) -> str:
        """All of it so far."""
        return "".join(self.pieces)


class _Function(msgspec.Struct, frozen=True):
    name: str | None = None
    arguments: str | None = None


class _Called(msgspec.Struct):
    index: int = 0
    id: str | None = None
    function: _Function = _Function()


class _Delta(msgspec.Struct, frozen=True):
    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: tuple[_Called, ...] | None = None


class _Logprobs(msgspec.Struct):
    content: list[dict[str, Any]] | None = None


class _Choice(msgspec.Struct):
    delta: _Delta = _Delta()
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Whole(msgspec.Struct):
    function: _Function
    id: str | None = None


_CHOICE: Final = msgspec.json.Decoder(_Choice)
_WHOLE: Final = msgspec.json.Decoder(_Whole)
_TOKENS: Final = msgspec.json.Decoder(list[dict[str, Any]] | None)


def choice_of(made: answer.ChatAnswer) -> answer.Choice:
    """The one choice that these APIs have. Raises Transient when the engine gave none."""
    if not made.choices:
        raise errors.Transient("the engine gave an answer without a choice")
    return made.choices[0]


def blocks_of(choice: answer.Choice, request_id: str) -> list[Block]:
    """The parts of a whole answer, in the order in which a stream tells them. Raises Transient."""
    message = choice.message
    found: list[Block] = []
    if isinstance(message.reasoning_content, str) and message.reasoning_content:
        found.append(Block("reasoning", 0, pieces=[message.reasoning_content]))
    if said := message.content or message.refusal:
        tokens = answer.decode(_TOKENS, bytes(choice.logprobs.content)) if choice.logprobs else None
        found.append(Block("text", len(found), pieces=[said], logprobs=tokens or []))
    for place, raw in enumerate(message.tool_calls or ()):
        call = answer.decode(_WHOLE, bytes(raw))
        call_id = call.id or answer.call_id(request_id, 0, place)
        pieces = [call.function.arguments or ""]
        found.append(Block("tool", len(found), call.function.name or "", call_id, pieces))
    return found


class Translator(StreamMeter):
    """A meter whose client speaks another API. `finish` is why the engine ended, "" while it has not."""

    __slots__ = ("_begun", "_calls", "_kept", "blocks", "created_s", "finish", "model", "open", "request_id")

    def __init__(self, *, dialect: str, model: str, request_id: str, wall_us: int) -> None:
        super().__init__(include_usage=True, dialect=dialect, model=model)
        self.model, self.request_id, self.created_s = model, request_id, wall_us // 1_000_000
        self.blocks: list[Block] = []
        self.open: Block | None = None
        self.finish = ""
        self._begun = False
        self._calls: dict[int, Block] = {}
        self._kept = 0

    # --- what a subclass tells ----------------------------------------------------------------------------------

    def begin(self) -> bytes:
        """Before anything else."""
        raise NotImplementedError

    def opened(self, block: Block) -> bytes:
        """A block begins."""
        raise NotImplementedError

    def grew(self, block: Block, piece: str, logprobs: list[dict[str, Any]]) -> bytes:
        """More of it; `piece` is already part of it."""
        raise NotImplementedError

    def closed(self, block: Block) -> bytes:
        """It is whole, or all there is of it."""
        raise NotImplementedError

    # --- what the gateway feeds ---------------------------------------------------------------------------------

    def feed(self, block: bytes) -> bytes:
        """See `StreamMeter.feed`."""
        return self._slow(block)

    def close(self) -> bytes:
        """The open block ends, if there is one."""
        block, self.open = self.open, None
        return self.closed(block) if block is not None else b""

    def started(self) -> bytes:
        """The beginning, the first time it is asked for."""
        if self._begun:
            return b""
        self._begun = True
        return self.begin()

    def retell(self, choice: answer.Choice) -> list[bytes]:
        """A whole answer as the stream it would have been."""
        out = [self.started()]
        for whole in blocks_of(choice, self.request_id):
            closed, block = self.close(), Block(whole.kind, whole.place, whole.name, whole.call_id)
            out.append(closed + self.opened(self._opened(block)))
            text = whole.text
            size = len(text) if whole.logprobs else _PIECE  # log probabilities belong to tokens, not to pieces
            pieces = [text[start : start + size] for start in range(0, len(text), size)]
            out.extend(self._add(block, piece, whole.logprobs) for piece in pieces)
        self.finish = choice.finish_reason or "stop"
        return out

    def _told(self, chunk: Chunk) -> bytes:
        out = [self.started()]
        for raw in chunk.choices or ():
            try:
                choice = _CHOICE.decode(raw)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                self.failed = "the engine sent something that is not a chunk"
                break
            delta, found = choice.delta, choice.logprobs.content or [] if choice.logprobs else []
            if delta.reasoning_content:
                out.append(self._grow("reasoning", delta.reasoning_content, []))
            if delta.content or (found and self.open is not None and self.open.kind == "text"):
                out.append(self._grow("text", delta.content or "", found))
            out.extend(self._called(called) for called in delta.tool_calls or ())
            if choice.finish_reason:
                self.finish = choice.finish_reason
        return b"".join(out)

    def _grow(self, kind: Literal["reasoning", "text"], piece: str, logprobs: list[dict[str, Any]]) -> bytes:
        block, begun = self.open, b""
        if block is None or block.kind != kind:
            begun = self.close()
            block = self._opened(Block(kind, len(self.blocks)))
            begun += self.opened(block)
        return begun + self._add(block, piece, logprobs)

    def _called(self, called: _Called) -> bytes:
        block, begun = self._calls.get(called.index), b""
        if block is None:
            if not called.function.name:
                self.failed = "the engine called a tool without a name"
                return b""
            begun, place = self.close(), len(self._calls)
            call_id = called.id or answer.call_id(self.request_id, 0, place)
            block = self._opened(Block("tool", len(self.blocks), called.function.name, call_id))
            self._calls[called.index] = block
            begun += self.opened(block)
        elif block is not self.open:
            self.failed = "the engine went back to a tool call that had ended"
            return b""
        return begun + self._add(block, called.function.arguments or "", [])

    def _opened(self, block: Block) -> Block:
        self.blocks.append(block)
        self.open = block
        return block

    def _add(self, block: Block, piece: str, logprobs: list[dict[str, Any]]) -> bytes:
        if not piece and not logprobs:
            return b""
        self._kept += len(piece)
        if self._kept > KEPT_MAX:
            self.failed = f"the engine's answer is larger than {KEPT_MAX} characters"
            return b""
        block.pieces.append(piece)
        block.logprobs.extend(logprobs)
        return self.grew(block, piece, logprobs)
