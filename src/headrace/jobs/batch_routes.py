"""Batches over HTTP: a part of the runner's process, with the batches that it goes on with."""

import asyncio
import hashlib
import shutil
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from headrace import telemetry
from headrace.errors import HeadraceError, Invalid, Transient, Unreachable
from headrace.jobs import batch as batches_of
from headrace.jobs import lists
from headrace.jobs.batch import ENDED, WINDOW_S, Asked, Batch
from headrace.jobs.batch_work import KIND, Desk, Work, record
from headrace.serving import bodies
from headrace.serving.bodies import answer
from headrace.serving.caller import Caller, Door

AGAIN_S: Final = 1.0


class BatchService:
    """`serving.Part`."""

    def __init__(self, desk: Desk, door: Door) -> None:
        self._desk, self._door = desk, door
        self._works: dict[str, Work] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def begin(self) -> None:
        """Go on with the batches that have not ended."""
        found = [msgspec.json.decode(one.data, type=Batch) for one in self._desk.records.open(KIND)]
        await asyncio.to_thread(self._tidy, {batch.id for batch in found})
        for batch in found:
            self._spawn(batch)
        telemetry.logger().info("batches.resumed", batches=len(found))

    async def stop(self) -> None:
        """Leave every batch where it is."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def routes(self) -> list[Route]:
        """Its paths."""
        at = "/v1/batches"
        return [
            Route(at, self.list, methods=["GET"]),
            Route(at, self.create, methods=["POST"]),
            Route(at + "/{batch}", self.show, methods=["GET"]),
            Route(at + "/{batch}/cancel", self.cancel, methods=["POST"]),
        ]

    async def create(self, request: Request) -> Response:
        """Begin a batch; with an Idempotency-Key, once."""
        who, asked = self._door.caller(request), await bodies.read(request, Asked)
        asked.check()
        name = _once(who, request.headers.get("idempotency-key")) or batches_of.new_id()
        known = self._desk.records.get(KIND, who.tenant, name)
        if known is not None:
            return answer(self._view(msgspec.json.decode(known.data, type=Batch)))
        file = self._desk.files.find(who.tenant, asked.input_file_id)
        if file.purpose != "batch":
            message = f"the file {file.id} has the purpose {file.purpose}; upload it with the purpose batch"
            raise Invalid(message, param="input_file_id")
        self._desk.storage.check(who.tenant)
        now_s, keep = self._desk.files.now_s, asked.output_expires_after
        batch = Batch(id=name, tenant=who.tenant, key=who.key, endpoint=asked.endpoint, input_file_id=file.id,
                      created_at=now_s, expires_at=now_s + WINDOW_S, metadata=asked.metadata,
                      output_expires_s=keep.seconds if keep else 0)  # fmt: skip
        await self._desk.records.put(record(batch))
        self._spawn(batch)
        return answer(self._view(batch))

    async def list(self, request: Request) -> Response:
        """The tenant's batches, the newest first."""
        who, page = self._door.caller(request), lists.asked(request.query_params, limit_max=100)
        found = [msgspec.json.decode(one.data, type=Batch) for one in self._desk.records.page(KIND, who.tenant, page)]
        return answer(lists.shown([self._view(batch) for batch in found], page))

    async def show(self, request: Request) -> Response:
        """One."""
        return answer(self._view(self._found(request)))

    async def cancel(self, request: Request) -> Response:
        """Send no more of it."""
        batch = self._found(request)
        work = self._works.get(batch.id)
        if work is None or batch.status in ENDED or batch.ending is not None:
            raise Invalid(f"{batch.id} is {batch.status}; there is nothing to cancel", code="conflict", status=409)
        await work.cancel()
        return answer(self._view(work.batch))

    def _found(self, request: Request) -> Batch:
        who, name = self._door.caller(request), request.path_params["batch"]
        found = self._desk.records.get(KIND, who.tenant, name)
        if found is None:
            raise Invalid(f"there is no batch {name[:60]!r}", code="not_found", status=404)
        return msgspec.json.decode(found.data, type=Batch)

    def _view(self, batch: Batch) -> dict[str, Any]:
        work = self._works.get(batch.id)
        return work.batch.view(work.counts, work.at_once) if work is not None else batch.view()

    def _spawn(self, batch: Batch) -> None:
        work = self._works[batch.id] = Work(batch, self._desk)
        task = asyncio.create_task(self._live(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _live(self, work: Work) -> None:
        """Go on with a batch until it has ended; what would pass by itself is waited for."""
        name = work.batch.id
        while name in self._works:
            try:
                await work.live()
                del self._works[name]
            except (Transient, Unreachable) as error:
                telemetry.logger().info("batch.waits", batch=name, error=str(error))
                await asyncio.sleep(AGAIN_S)
            except HeadraceError as error:
                await self._fail(work, getattr(error, "code", "unavailable"), str(error))
            except Exception as error:  # noqa: BLE001 - the outermost frame of a batch: our mistake is its end alone
                telemetry.logger().exception("batch.failed", batch=name, error=repr(error))
                await self._fail(work, "internal_error", "the runner made a mistake; it is logged under the batch's id")

    async def _fail(self, work: Work, code: str, message: str) -> None:
        try:
            await work.fail(code, message)
            del self._works[work.batch.id]
        except Transient:
            await asyncio.sleep(AGAIN_S)

    def _tidy(self, at_work: set[str]) -> None:
        """Take away the folders of batches that have ended. Blocks."""
        self._desk.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in self._desk.folder.iterdir():
            if folder.name not in at_work:
                shutil.rmtree(folder, ignore_errors=True)


def _once(who: Caller, given: str | None) -> str:
    """The batch of an Idempotency-Key, the same whenever it is sent."""
    return f"batch_{hashlib.sha256(f'{who.tenant}/{given}'.encode()).hexdigest()[:24]}" if given else ""
