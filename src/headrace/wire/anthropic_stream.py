"""Anthropic's events out of an engine's chat chunks."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from headrace.wire import anthropic_answer as made
from headrace.wire import stops
from headrace.wire.translate import Block, Translator
from headrace.wire.usage import Counts

_ENCODER: Final = msgspec.json.Encoder()


class AnthropicMeter(Translator):
    """See `Translator`. `met` is the one of its `stops` that the engine ended at, as far as it has said so."""

    __slots__ = ("_stops", "met")

    def __init__(self, *, dialect: str, model: str, request_id: str, wall_us: int, stops: Sequence[str] = ()) -> None:
        super().__init__(dialect=dialect, model=model, request_id=request_id, wall_us=wall_us)
        self._stops = stops
        self.met: str | None = None

    def begin(self) -> bytes:
        """See `Translator.begin`."""
        return _event("message_start", message=made.message(self.request_id, self.model)) + _event("ping")

    def opened(self, block: Block) -> bytes:
        """See `Translator.opened`."""
        return _event("content_block_start", index=block.place, content_block=made.begun(block))

    def grew(self, block: Block, piece: str, logprobs: list[dict[str, Any]]) -> bytes:
        """See `Translator.grew`; this API has no log probabilities."""
        del logprobs
        match block.kind:
            case "tool":
                delta = {"type": "input_json_delta", "partial_json": piece}
            case "reasoning":
                delta = {"type": "thinking_delta", "thinking": piece}
            case _:
                delta = {"type": "text_delta", "text": piece}
        return _event("content_block_delta", index=block.place, delta=delta)

    def closed(self, block: Block) -> bytes:
        """See `Translator.closed`."""
        return _event("content_block_stop", index=block.place)

    def tail(self, counts: Counts | None) -> bytes:
        """See `StreamMeter.tail`: why it ended, and what it cost."""
        delta = made.end(self.finish, self.blocks, self.met)
        told = _event("message_delta", delta=delta, usage=made.usage(counts or Counts()))
        return self.started() + self.close() + told + _event("message_stop")

    def broken(self, code: str, message: str) -> bytes:
        """See `StreamMeter.broken`."""
        return made.AnthropicVoice(self.request_id).event(code, message)

    def _event(self, data: bytes) -> bytes:
        self.met = self.met or stops.met(data, self._stops)
        return super()._event(data)


def _event(kind: str, **more: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), _ENCODER.encode({"type": kind, **more}))
