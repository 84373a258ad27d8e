"""The life of a response in the background that is told while it is made: its gateway's events, numbered on."""

from typing import Any, Final

import msgspec

from headrace.errors import Unreachable
from headrace.jobs import response as of
from headrace.jobs.response import ENDED, Kept
from headrace.jobs.response_events import BEGINNING, Events
from headrace.jobs.response_work import PATH, Shelf, Work
from headrace.serving.loopback import Answered
from headrace.wire import fault

LAST: Final = frozenset({"response.completed", "response.incomplete", "response.failed"})
_CUT: Final = "it broke off when some of the answer had been told, which cannot be untold; ask again"
_GONE: Final = 410  # an end, and nothing to try again


class ToldWork(Work):
    """What was told cannot be untold: one that breaks off when there are words has failed; before, it goes on."""

    def __init__(self, kept: Kept, shelf: Shelf, events: Events) -> None:
        super().__init__(kept, shelf)
        self.events = events

    async def live(self) -> None:
        """See `Work.live`."""
        if self.events.spoken and self.kept.status not in ENDED:
            await self.become(of.failed(self.kept.response, "stopping", _CUT))
        await super().live()
        await self.events.settle()

    async def _ask(self) -> Answered:
        headers, data = self._question()
        try:
            stream = await self._shelf.loopback.stream(PATH, key=self.kept.key, data=data, headers=headers)
            try:
                if stream.status != 200:
                    return Answered(stream.status, stream.headers, await stream.whole())
                async for told in stream.events():
                    if told.startswith(b"event:") and (ended := self._heard(told)) is not None:
                        return ended
            finally:
                stream.close()
            raise Unreachable("the gateway's events ended without their end")
        except Unreachable:
            if not self.events.spoken:
                raise
            return Answered(_GONE, {}, fault.body("stopping", _CUT))

    def _heard(self, told: bytes) -> Answered | None:
        """One event of the gateway; the answer when it is the last one."""
        said: dict[str, Any] = msgspec.json.decode(told.partition(b"\n")[2].removeprefix(b"data: "))
        kind = said.pop("type")
        del said["sequence_number"]
        if kind == "error":
            code = str(said.get("code"))
            return Answered(fault.status(code), {}, fault.body(code, str(said.get("message"))))
        if kind in LAST:
            cost = ((said["response"].get("usage") or {}).get("headrace") or {}).get("cost")
            return Answered(200, {"x-headrace-cost": cost} if cost else {}, msgspec.json.encode(said["response"]))
        if "response" in said:
            kept = self.kept
            said["response"] = of.shown(said["response"], kept.id, kept.previous, background=True)
        self.events.add(kind, **said)
        return None


def begun(events: Events, kept: Kept) -> None:
    """Tell that there is one, and that it waits."""
    for kind in BEGINNING[:2]:
        events.add(kind, response=kept.view())
