"""Responses events out of an engine's chat chunks: numbered from 0, each item opened, told and closed in its turn."""

from typing import Any, Final

import msgspec

from headrace.wire import responses_answer as made
from headrace.wire.responses_answer import Facts
from headrace.wire.translate import Block, Translator
from headrace.wire.usage import Counts
from headrace.wire.voice import Voice

_ENCODER: Final = msgspec.json.Encoder()


class ResponsesMeter(Translator):
    """See `Translator`."""

    __slots__ = ("_facts", "_ids", "_number")

    def __init__(self, *, dialect: str, model: str, request_id: str, wall_us: int, echo: dict[str, Any]) -> None:
        super().__init__(dialect=dialect, model=model, request_id=request_id, wall_us=wall_us)
        self._facts = Facts(request_id=request_id, created_s=self.created_s, echo=echo)
        self._ids: list[str] = []
        self._number = 0

    def begin(self) -> bytes:
        """See `Translator.begin`."""
        shown = made.response(self._facts, "in_progress", [])
        return self._say("response.created", response=shown) + self._say("response.in_progress", response=shown)

    def opened(self, block: Block) -> bytes:
        """See `Translator.opened`."""
        item = made.item(self._facts, block, "in_progress")
        self._ids.append(item["id"])
        begun = self._say("response.output_item.added", output_index=block.place, item=item)
        if block.kind == "tool":
            return begun
        return begun + self._inside("response.content_part.added", block, part=made.part(block))

    def grew(self, block: Block, piece: str, logprobs: list[dict[str, Any]]) -> bytes:
        """See `Translator.grew`."""
        match block.kind:
            case "tool":
                return self._of_item("response.function_call_arguments.delta", block, delta=piece)
            case "reasoning":
                return self._inside("response.reasoning_text.delta", block, delta=piece)
            case _:
                found = made.logprobs(logprobs)
                return self._inside("response.output_text.delta", block, delta=piece, logprobs=found)

    def closed(self, block: Block) -> bytes:
        """See `Translator.closed`."""
        text = block.text
        match block.kind:
            case "tool":
                name = "response.function_call_arguments.done"
                told = self._of_item(name, block, name=block.name, arguments=text)
            case "reasoning":
                told = self._inside("response.reasoning_text.done", block, text=text)
            case _:
                found = made.logprobs(block.logprobs)
                told = self._inside("response.output_text.done", block, text=text, logprobs=found)
        if block.kind != "tool":
            told += self._inside("response.content_part.done", block, part=made.part(block))
        cut = self.finish in ("length", "content_filter") and block is self.blocks[-1]
        item = made.item(self._facts, block, "incomplete" if cut else "completed")
        return told + self._say("response.output_item.done", output_index=block.place, item=item)

    def tail(self, counts: Counts | None) -> bytes:
        """See `StreamMeter.tail`: the last item's end, and the response with its usage."""
        out = self.started()
        if not self.blocks:
            out += self.opened(self._opened(Block("text", 0)))
        out += self.close()
        response = made.whole(self._facts, self.finish, self.blocks, counts)
        return out + self._say(f"response.{response['status']}", response=response)

    def broken(self, code: str, message: str) -> bytes:
        """See `StreamMeter.broken`."""
        return self._say("response.failed", response=made.failed(self._facts, code, message, self.blocks))

    def _inside(self, kind: str, block: Block, **more: Any) -> bytes:
        return self._of_item(kind, block, content_index=0, **more)

    def _of_item(self, kind: str, block: Block, **more: Any) -> bytes:
        return self._say(kind, item_id=self._ids[block.place], output_index=block.place, **more)

    def _say(self, kind: str, **more: Any) -> bytes:
        body = {"type": kind, "sequence_number": self._number, **more}
        self._number += 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), _ENCODER.encode(body))


class ResponsesVoice(Voice):
    """Errors of a stream that has told nothing but comments; all others are OpenAI's."""

    __slots__ = ()

    def event(self, code: str, message: str = "") -> bytes:
        """See `Voice.event`."""
        told = msgspec.json.decode(self.body(code, message))["error"]
        body = {"type": "error", "sequence_number": 0, "code": code, "message": told["message"], "param": None}
        return b"event: error\ndata: %b\n\n" % _ENCODER.encode(body)


VOICE: Final = ResponsesVoice()
