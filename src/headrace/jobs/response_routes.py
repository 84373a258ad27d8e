"""Stored responses over HTTP: a part of the runner's process, with those in the background that it goes on with."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from headrace import telemetry
from headrace.errors import HeadraceError, Invalid, Transient, Unreachable
from headrace.jobs import lists
from headrace.jobs import response as of
from headrace.jobs.response import ENDED, Kept
from headrace.jobs.response_events import Events, last
from headrace.jobs.response_told import ToldWork, begun
from headrace.jobs.response_work import PATH, Shelf, Work
from headrace.serving import asking, bodies
from headrace.serving.bodies import answer
from headrace.serving.caller import Caller, Door
from headrace.serving.streamed import Streamed

AGAIN_S: Final = 1.0
SWEEP_S: Final = 3_600.0
_TOLD: Final = ("x-headrace-", "x-ratelimit-", "openai-processing-ms", "retry-after", "x-should-retry")
_GIVEN: Final = (
    "idempotency-key", "x-headrace-label", "x-headrace-max-cost", "x-headrace-priority", "x-headrace-deadline-ms",
    "x-headrace-dry-run",
)  # fmt: skip


class _Asked(msgspec.Struct, frozen=True):
    """What of a request is ours; a gateway has read all of it before."""

    model: str
    store: bool | None = None
    background: bool | None = None
    previous_response_id: str | None = None
    stream: bool | None = None

    @property
    def keep(self) -> bool:
        """Whether there will be something to ask for."""
        return bool(self.store or self.background)


class ResponseService:
    """`serving.Part`."""

    def __init__(self, shelf: Shelf, door: Door) -> None:
        self._shelf, self._door = shelf, door
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._told: dict[str, Events] = {}  # of those at work that are streamed
        self._sweeping: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Go on with those that have not ended, and let go of what has been kept long enough."""
        for kept in self._shelf.unfinished():
            self._spawn(kept)
        self._sweeping = asyncio.create_task(self._sweep())

    async def stop(self) -> None:
        """Leave every one where it is; what the gateway works on for it is called off."""
        tasks = [*self._tasks.values(), *([self._sweeping] if self._sweeping else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for name in list(self._told):
            self._end(name)
        self._shelf.loopback.close()

    def routes(self) -> list[Route]:
        """Its paths."""
        return [
            Route(PATH, self.create, methods=["POST"]),
            Route("/responses", self.create, methods=["POST"]),
            Route(PATH + "/{response}", self.show, methods=["GET"]),
            Route(PATH + "/{response}", self.delete, methods=["DELETE"]),
            Route(PATH + "/{response}/cancel", self.cancel, methods=["POST"]),
            Route(PATH + "/{response}/input_items", self.items, methods=["GET"]),
        ]

    async def create(self, request: Request) -> Response:
        """Ask the gateway, with all that was said before, and keep what comes of it."""
        who, body = self._door.caller(request), await bodies.read(request, dict[str, Any])
        asked = msgspec.convert(body, _Asked)
        if asked.model.startswith("pipeline/"):
            message = "pipelines are called through /v1/chat/completions, and started with /headrace/v1/runs"
            raise Invalid(message, param="model", code="unsupported_endpoint")
        if asked.keep:
            self._shelf.check_room(who.tenant)
        previous, items = asked.previous_response_id or "", of.items(body.get("input"))
        said = of.conversation(self._shelf.turns(who.tenant, previous), items)
        sent = of.stateless(body, said)
        kept = Kept(id="", tenant=who.tenant, key=who.key, created_s=self._shelf.now_s, items=items, response={},
                    body={name: value for name, value in body.items() if name != "input"}, previous=previous,
                    background=bool(asked.background))  # fmt: skip
        headers = {name: request.headers[name] for name in _GIVEN if name in request.headers}
        if asked.background and "x-headrace-dry-run" not in headers:
            kept = msgspec.structs.replace(
                kept, headers=headers, digest=hashlib.sha256(await request.body()).hexdigest()
            )
            return await self._queue(kept, sent)
        if asked.stream and "x-headrace-dry-run" not in headers:
            return await self._streamed(kept, sent, headers, keep=asked.keep)
        return await self._whole(kept, sent, headers, keep=asked.keep)

    async def show(self, request: Request) -> Response:
        """One, as it is now; or its events, those after the one that was seen last."""
        kept, start = self._found(request), following(request.query_params)
        if start is None:
            return answer(kept.view())
        if not kept.streamed:
            message = f"{kept.id} has no events; only what was asked for with background and stream can be followed"
            raise Invalid(message, param="stream", code="unsupported_parameter")
        return self._following(kept, start)

    async def delete(self, request: Request) -> Response:
        """Take it away; one that is at work is called off."""
        kept = self._found(request)
        await self._call_off(kept.id)
        await self._shelf.delete(kept)
        self._end(kept.id)
        return answer({"id": kept.id, "object": "response", "deleted": True})

    async def cancel(self, request: Request) -> Response:
        """Call off one in the background; of one that has ended, how it ended."""
        kept = self._found(request)
        if not kept.background:
            raise Invalid(f"{kept.id} was not asked for in the background; there is nothing to call off")
        await self._call_off(kept.id)
        kept = self._found(request)
        if kept.status not in ENDED:
            kept = msgspec.structs.replace(kept, response={**kept.response, "status": "cancelled"})
            await self._shelf.put(kept)
        self._end(kept.id)
        return answer(kept.view())

    async def items(self, request: Request) -> Response:
        """All that it answered, earlier turns included, the newest first where nothing is said."""
        kept, page = self._found(request), lists.asked(request.query_params, limit_max=100)
        said = of.conversation(self._shelf.turns(kept.tenant, kept.previous), kept.items)
        found = said if page.oldest_first else said[::-1]
        names = [item["id"] for item in found]
        if page.after and page.after not in names:
            raise Invalid(f"there is no item {page.after[:80]!r} in {kept.id}", param="after")
        begin = names.index(page.after) + 1 if page.after else 0
        return answer(lists.shown(found[begin : begin + page.limit], page))

    # --- the three ways to ask ------------------------------------------------------------------------------------

    async def _whole(self, kept: Kept, sent: dict[str, Any], headers: Mapping[str, str], *, keep: bool) -> Response:
        data = msgspec.json.encode(sent)
        answered = await self._shelf.loopback.send("POST", PATH, key=kept.key, data=data, headers=headers)
        if answered.status != 200 or "x-headrace-dry-run" in headers:
            return _relayed(answered.status, answered.headers, answered.body)
        found = msgspec.json.decode(answered.body, type=dict[str, Any])
        response = of.priced(found, answered.headers.get("x-headrace-cost"))
        kept = msgspec.structs.replace(kept, id=response["id"], response=response)
        if keep:
            await self._shelf.put(kept)
        view = of.shown(response, kept.id, kept.previous, store=keep)
        return _relayed(200, answered.headers, msgspec.json.encode(view))

    async def _streamed(self, kept: Kept, sent: dict[str, Any], headers: Mapping[str, str], *, keep: bool) -> Response:
        stream = await self._shelf.loopback.stream(PATH, key=kept.key, data=msgspec.json.encode(sent), headers=headers)
        if stream.status != 200:
            try:
                return _relayed(stream.status, stream.headers, await stream.whole())
            finally:
                stream.close()
        told = _told(stream.headers)
        return StreamingResponse(self._events(kept, stream, keep=keep), media_type="text/event-stream", headers=told)

    async def _events(self, kept: Kept, stream: Streamed, *, keep: bool) -> AsyncIterator[bytes]:
        """The gateway's, their responses as they are here; the last one leaves when it is kept."""
        number = 0
        try:
            async for event in stream.events():
                number += event.startswith(b"event:")
                if b'"response":{' not in event:
                    yield event
                    continue
                name, _, data = event.partition(b"\n")
                said = msgspec.json.decode(data.removeprefix(b"data: "))
                response = said["response"]
                kept = msgspec.structs.replace(kept, id=response["id"], response=response)
                if keep and kept.status in ENDED:
                    await self._shelf.put(kept)
                said["response"] = of.shown(response, kept.id, kept.previous, store=keep)
                yield b"%b\ndata: %b\n\n" % (name, msgspec.json.encode(said))
        except Unreachable as error:
            broken = {"type": "error", "sequence_number": number, "code": "stopping", "message": error.message}
            yield b"event: error\ndata: %b\n\n" % msgspec.json.encode({**broken, "param": None})
        finally:
            stream.close()

    async def _queue(self, kept: Kept, sent: dict[str, Any]) -> Response:
        """Begin it; what the gateway would refuse is refused here and now. With an Idempotency-Key, once."""
        await asking.welcome(self._shelf.loopback, kept.key, PATH, msgspec.json.encode(sent), kept.headers)
        name = of.new_id(kept.tenant, kept.headers.get("idempotency-key", ""))
        known = self._shelf.get(kept.tenant, name)
        if known is not None:
            if known.digest == kept.digest:
                return self._following(known, 0) if known.streamed else answer(known.view())
            message = "This Idempotency-Key was used for another request; use a new one for each request."
            raise Invalid(message, param="Idempotency-Key", code="unprocessable", status=422)
        kept = msgspec.structs.replace(kept, id=name, response=of.queued(sent, name, kept.created_s))
        await self._shelf.put(kept)
        self._spawn(kept)
        return self._following(kept, 0) if kept.streamed else answer(kept.view())

    def _following(self, kept: Kept, start: int) -> Response:
        """Its events from a place on, whether it is at work or has ended. Who leaves may come again."""
        return StreamingResponse(self._follow(kept, start), media_type="text/event-stream")

    async def _follow(self, kept: Kept, start: int) -> AsyncIterator[bytes]:
        events = self._told.get(kept.id)
        if events is None:
            events = self._shelf.events(kept)
            events.end()
        async for event in events.follow(start):
            yield event
        now = self._shelf.get(kept.tenant, kept.id)
        if now is not None and now.status in ENDED and start <= len(events.told):
            yield last(now, len(events.told))

    # --- those at work ----------------------------------------------------------------------------------------------

    def _found(self, request: Request) -> Kept:
        who: Caller = self._door.caller(request)
        return self._shelf.find(who.tenant, request.path_params["response"])

    def _spawn(self, kept: Kept) -> None:
        work = Work(kept, self._shelf)
        if kept.streamed:
            events = self._told[kept.id] = self._shelf.events(kept)
            begun(events, kept)
            work = ToldWork(kept, self._shelf, events)
        task = asyncio.create_task(self._live(work))
        self._tasks[kept.id] = task
        task.add_done_callback(lambda _: self._tasks.pop(kept.id, None))

    async def _live(self, work: Work) -> None:
        while work.kept.status not in ENDED:
            try:
                await work.live()
            except Transient as error:
                telemetry.logger().info("response.waits", response=work.kept.id, error=str(error))
                await asyncio.sleep(AGAIN_S)
            except HeadraceError as error:
                await work.become(of.failed(work.kept.response, "unavailable", error.message))
        self._end(work.kept.id)

    def _end(self, name: str) -> None:
        """Whoever follows it has heard all that there is."""
        events = self._told.pop(name, None)
        if events is not None:
            events.end()

    async def _call_off(self, name: str) -> None:
        task = self._tasks.get(name)
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        if name in self._told:
            await self._told[name].settle()

    async def _sweep(self) -> None:
        while True:
            with suppress(Transient):  # a full disk: the next round does it
                await self._shelf.sweep()
            await asyncio.sleep(SWEEP_S)


def following(params: Mapping[str, str]) -> int | None:
    """The place of the first event that is wanted; None when it is the response that is. Raises Invalid."""
    after, stream = params.get("starting_after"), params.get("stream", "false")
    if stream not in ("true", "false"):
        raise Invalid(f"stream is {stream[:20]!r}; give true or false", param="stream")
    if stream == "false":
        if after is not None:
            raise Invalid("starting_after goes with stream=true", param="starting_after")
        return None
    if after is None:
        return 0
    if not (after.isascii() and after.isdigit() and len(after) < 10):
        message = f"starting_after is {after[:20]!r}; give the sequence_number of the last event you have"
        raise Invalid(message, param="starting_after")
    return int(after) + 1


def _told(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.startswith(_TOLD)}


def _relayed(status: int, headers: Mapping[str, str], body: bytes) -> Response:
    return Response(body, status, media_type="application/json", headers=_told(headers))
