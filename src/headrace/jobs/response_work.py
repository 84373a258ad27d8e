"""Responses that are kept, durably, and the life of one in the background: asked of the gateway as its key's holder."""

import asyncio
from typing import Any, Final

import msgspec

from headrace.errors import Invalid, Unreachable
from headrace.jobs import response as of
from headrace.jobs.response import ANSWERED, ENDED, KEPT_S, TURNS_MAX, Kept
from headrace.jobs.response_events import KIND as EVENTS
from headrace.jobs.response_events import Events
from headrace.ports import Clock, Record, Records
from headrace.serving import asking
from headrace.serving.loopback import Answered, Loopback
from headrace.serving.storage import Storage
from headrace.units import US_PER_S, dollars

KIND: Final = "response"
PATH: Final = "/v1/responses"
TRIES_MAX: Final = 3  # of one that broke on their side
WAIT_S: Final = 1.0
_DENIED_MAX: Final = 15  # a gateway that has just begun may not know the key yet


class Shelf:
    """Where they are kept: each tenant's for itself."""

    def __init__(self, records: Records, loopback: Loopback, clock: Clock, storage: Storage | None = None) -> None:
        """`storage` bounds what a tenant may have here; None for no bound."""
        self._records, self.loopback, self._clock, self._storage = records, loopback, clock, storage

    @property
    def now_s(self) -> int:
        """Seconds since 1970."""
        return self._clock.now_us() // US_PER_S

    def check_room(self, tenant: str) -> None:
        """Raises Invalid when a tenant may keep nothing more."""
        if self._storage is not None:
            self._storage.check(tenant)

    async def put(self, kept: Kept) -> None:
        """Durable when this returns."""
        data = msgspec.json.encode(kept)
        await self._records.put(Record(id=kept.id, kind=KIND, tenant=kept.tenant, data=data,
                                       open=kept.status not in ENDED, due_s=kept.created_s + KEPT_S,
                                       bytes=len(data)))  # fmt: skip

    def find(self, tenant: str, name: str) -> Kept:
        """One of a tenant's. Raises Invalid (404)."""
        found = self.get(tenant, name)
        if found is None:
            raise Invalid(f"there is no response {name[:80]!r}; it was not stored, or is no longer", code="not_found",
                          status=404)  # fmt: skip
        return found

    def get(self, tenant: str, name: str) -> Kept | None:
        """The same; None when there is none."""
        found = self._records.get(KIND, tenant, name)
        return msgspec.json.decode(found.data, type=Kept) if found is not None else None

    def turns(self, tenant: str, last: str) -> list[Kept]:
        """All that a response goes on from, the oldest first. Raises Invalid."""
        found: list[Kept] = []
        while last:
            if len(found) >= TURNS_MAX:
                raise Invalid(f"a conversation has at most {TURNS_MAX} stored turns", param="previous_response_id")
            try:
                kept = self.find(tenant, last)
            except Invalid as error:
                raise Invalid(error.message, param="previous_response_id", code="previous_response_not_found",
                              status=404) from None  # fmt: skip
            if kept.status not in ANSWERED:
                message = f"{last} is {kept.status}; only what has been answered can be gone on from"
                raise Invalid(message, param="previous_response_id", code="conflict", status=409)
            found.append(kept)
            last = kept.previous
        return found[::-1]

    async def delete(self, kept: Kept) -> None:
        """It is not there any more, nor are its events."""
        await self._records.delete(kept.id)
        if kept.streamed:
            await self.events(kept).delete()

    def events(self, kept: Kept) -> Events:
        """What has been kept of a response's events."""
        return Events(self._records, kept, kept.created_s + KEPT_S).load()

    def unfinished(self) -> list[Kept]:
        """Those to go on with."""
        return [msgspec.json.decode(one.data, type=Kept) for one in self._records.open(KIND)]

    async def sweep(self) -> None:
        """Let go of those that have been kept long enough."""
        for kind in (KIND, EVENTS):
            for one in self._records.due(kind, self.now_s):
                await self._records.delete(one.id)


class Work:
    """One response in the background."""

    def __init__(self, kept: Kept, shelf: Shelf) -> None:
        self.kept = kept
        self._shelf = shelf

    async def live(self) -> None:
        """To its end. Raises Transient when it cannot be kept for now."""
        tries = denied = 0
        while self.kept.status not in ENDED:
            if self.kept.status == "queued":
                await self.become({**self.kept.response, "status": "in_progress"})
            try:
                answered = await self._ask()
            except Unreachable:
                await asyncio.sleep(WAIT_S)
                continue
            verdict = asking.verdict(answered)
            if verdict == "denied" and (denied := denied + 1) < _DENIED_MAX:
                await asyncio.sleep(WAIT_S)
            elif verdict == "busy":
                await asyncio.sleep(max(asking.wait_us(answered) / US_PER_S, WAIT_S))
            elif verdict == "broken" and (tries := tries + 1) < TRIES_MAX:
                await asyncio.sleep(WAIT_S)
            elif answered.status == 409:  # made for a runner that was killed; its answer is not kept: once more
                self.kept = msgspec.structs.replace(self.kept, attempt=self.kept.attempt + 1)
                await self._shelf.put(self.kept)
            else:
                await self._end(answered)

    async def become(self, response: dict[str, Any]) -> None:
        """From now on it is this, durably."""
        self.kept = msgspec.structs.replace(self.kept, response=response)
        await self._shelf.put(self.kept)

    async def _ask(self) -> Answered:
        headers, data = self._question()
        return await self._shelf.loopback.send("POST", PATH, key=self.kept.key, data=data, headers=headers)

    def _question(self) -> tuple[dict[str, str], bytes]:
        """Headers and body for the gateway."""
        kept = self.kept
        said = of.conversation(self._shelf.turns(kept.tenant, kept.previous), kept.items)
        name = f"{kept.id}/{kept.attempt}"
        headers = {"x-headrace-label": name, **kept.headers, "idempotency-key": name}
        return headers, msgspec.json.encode(of.stateless(kept.body, said))

    async def _end(self, answered: Answered) -> None:
        if answered.status != 200:
            error = asking.error(answered)
            message = str(error.get("message", f"the gateway answered {answered.status}"))
            await self.become(of.failed(self.kept.response, str(error.get("code") or "failed"), message))
            return
        charge = await asking.charge(self._shelf.loopback, self.kept.key, answered)
        response = msgspec.json.decode(answered.body, type=dict[str, Any])
        await self.become(of.priced(response, dollars(charge) if charge is not None else None))
