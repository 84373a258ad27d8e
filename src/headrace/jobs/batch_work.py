"""The life of one batch: its input checked, each line asked as its key's holder, its files made. Durable throughout.

Every step begins with what is on the disk, so a killed runner's successor goes on where it was. Each line has an
Idempotency-Key of its own, and a gateway finishes what it has begun of it: a line that was not noted is answered again
from the gateway's memory, and paid once.
"""

import asyncio
import os
import shutil
from array import array
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from headrace import telemetry
from headrace.errors import Unreachable
from headrace.jobs import lines
from headrace.jobs.batch import ENDED, Batch, Counts, LineError, Status
from headrace.jobs.file import OUTPUT, File, digest, new_id
from headrace.jobs.files import Files
from headrace.jobs.results import ERRORS, Response, Results
from headrace.jobs.results import OUTPUT as ANSWERS
from headrace.jobs.width import Width
from headrace.ports import SMALL_BYTES_MAX, Clock, Record, Records, Repeats, repeat_name
from headrace.serving import asking
from headrace.serving.loopback import Answered, Loopback
from headrace.serving.storage import Storage
from headrace.units import US_PER_S

KIND: Final = "batch"
TRIES_MAX: Final = 3  # of a line that broke on their side
DENIED_US: Final = 15 * US_PER_S  # a gateway that has just begun may not know the key yet
AWAY_US: Final = 200_000
GRACE_S: Final = 600.0  # for what is at work when a batch is cancelled: what a gateway gives a whole answer
LOOK_S: Final = 1.0
_URGENT: Final = "x-headrace-urgent"
_UNDONE: Final = {
    "cancelled": ("batch_cancelled", "The batch was cancelled before this request was made."),
    "expired": ("batch_expired", "This request could not be executed before the completion window expired."),
    "failed": ("batch_failed", "The batch failed before this request was made; see its errors."),
}


class Desk(NamedTuple):
    """What all batches work with. `folder` has one sub-folder for each that is at work."""

    records: Records
    files: Files
    loopback: Loopback
    clock: Clock
    folder: Path
    repeats: Repeats
    storage: Storage


class Work:
    """One batch at work."""

    def __init__(self, batch: Batch, desk: Desk) -> None:
        self.batch = batch
        self.width = Width()
        self._desk = desk
        self._folder = desk.folder / batch.id
        self._pending: deque[int] = deque()
        self._tries: Counter[int] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._moved = asyncio.Event()
        self._results: Results | None = None
        self._input = lines.Input(starts=array("Q"), errors=[])
        self._denied_us = self._began_us = self._answers = 0
        self._source = -1
        self._error: BaseException | None = None

    @property
    def counts(self) -> Counts | None:
        """What has been done, None before anything has."""
        return self._results.counts if self._results is not None else None

    @property
    def at_once(self) -> int:
        """How many requests are out."""
        return len(self._tasks)

    async def live(self) -> None:
        """To its end. Raises HeadraceError when it cannot go on for now."""
        await asyncio.to_thread(self._folder.mkdir, mode=0o700, parents=True, exist_ok=True)
        try:
            if self.batch.status == "validating":
                await self._validate()
            if self.batch.status == "cancelling" and not self.batch.total:
                await self._become("cancelled")
            if self.batch.status in ENDED:
                return
            if self.batch.ending is None:
                await self._open()
                await self._answer_all()
            await self._finish()
        finally:
            await self._close()
            if self.batch.status in ENDED:
                await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    async def cancel(self) -> None:
        """Send no more; what is at work is waited for, and its answers are kept."""
        if self.batch.status in ("validating", "in_progress"):
            await self._become("cancelling")
        self._moved.set()

    async def fail(self, code: str, message: str) -> None:
        """End it, because it cannot be gone on with."""
        error = LineError(code=code, message=message)
        await self._become("failed", errors=(*self.batch.errors, error), ending=None)
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    # --- the input ----------------------------------------------------------------------------------------------

    async def _validate(self) -> None:
        found = await self._read(await self._models())
        if self.batch.status != "validating":
            return  # it was cancelled meanwhile
        if found.errors:
            await self._become("failed", errors=tuple(found.errors))
        else:
            await self._become("in_progress", total=len(found.starts) - 1, model=found.model)

    async def _models(self) -> set[str]:
        answered = await self._desk.loopback.send("GET", "/v1/models", key=self.batch.key)
        if answered.status != 200:
            raise Unreachable(f"the gateway answered {answered.status}")
        return {model["id"] for model in msgspec.json.decode(answered.body)["data"]}

    async def _read(self, models: set[str] | None) -> lines.Input:
        path = self._folder / "input.jsonl"
        if not path.exists():
            beside = path.with_suffix(".part")
            await asyncio.to_thread(beside.unlink, missing_ok=True)
            await self._desk.files.fetch(self._desk.files.find(self.batch.tenant, self.batch.input_file_id), beside)
            await asyncio.to_thread(beside.replace, path)
        return await asyncio.to_thread(lines.check, path, self.batch.endpoint, models)

    async def _open(self) -> None:
        self._input = await self._read(None)
        total = len(self._input.starts) - 1
        self._results = await asyncio.to_thread(Results, self._folder, self.batch.id, total)
        self._pending.extend(place for place, done in enumerate(self._results.done) if not done)
        self._source = os.open(self._folder / "input.jsonl", os.O_RDONLY | os.O_CLOEXEC)
        await self._release(self._results.large)

    # --- the lines ----------------------------------------------------------------------------------------------

    async def _answer_all(self) -> None:
        """Ask every line, within the width; decides how the batch will end."""
        self._began_us = self._desk.clock.monotonic_us()
        while (self._pending or self._tasks) and not self._over():
            if self._error is not None:
                raise self._error
            now_us = self._desk.clock.monotonic_us()
            if self._pending and self.width.room(len(self._tasks), now_us):
                task = asyncio.create_task(self._ask(self._pending.popleft()))
                self._tasks.add(task)
                task.add_done_callback(self._asked)
                continue
            self._moved.clear()
            paused_s = (self.width.resume_us - now_us) / US_PER_S
            with suppress(TimeoutError):
                await asyncio.wait_for(self._moved.wait(), paused_s if 0 < paused_s < LOOK_S else LOOK_S)
        left, ending = bool(self._pending or self._tasks), self._over()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=GRACE_S)
            await self._call_off()
        await self._decide(ending if ending and (left or ending == "cancelled") else "completed")

    def _over(self) -> Status | None:
        """Whether it ends before all is done, and as what."""
        if self.batch.status == "cancelling":
            return "cancelled"
        if self._denied_us and self._desk.clock.monotonic_us() - self._denied_us > DENIED_US:
            return "failed"
        return "expired" if self._desk.files.now_s >= self.batch.expires_at else None

    def _asked(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        self._moved.set()
        if not task.cancelled():
            self._error = self._error or task.exception()

    async def _ask(self, place: int) -> None:
        """One try of one line; it is pending again unless this was its end."""
        line = self._line(place)
        name = f"{self.batch.id}/{place}"
        headers = {"idempotency-key": name, "x-headrace-label": name, "x-headrace-priority": "batch",
                   "x-headrace-on-disconnect": "finish"}  # fmt: skip
        began_us = self._desk.clock.monotonic_us()
        try:
            answered = await self._desk.loopback.send(
                "POST", self.batch.endpoint, key=self.batch.key, data=bytes(line.body), headers=headers
            )
            now_us = self._desk.clock.monotonic_us()
            if self._comes_again(place, answered, now_us):
                self._pending.append(place)
                return
            await self._note(place, line.custom_id, answered)
            if len(answered.body) > SMALL_BYTES_MAX:
                await self._release([place])
            queue_us = int(answered.headers.get("x-headrace-queue-ms", "0")) * 1_000
            self.width.answered(now_us, queue_us, now_us - began_us, int(answered.headers.get(_URGENT, "0")))
            self._look_ahead(now_us)
        except Unreachable:
            self._pending.append(place)
            self.width.pushed_back(self._desk.clock.monotonic_us(), AWAY_US)
        except OSError as error:  # the disk is full: the gateway will answer from memory
            self._pending.append(place)
            self.width.pushed_back(self._desk.clock.monotonic_us(), US_PER_S)
            telemetry.logger().warning("batch.not_written", batch=self.batch.id, error=error.strerror)

    def _look_ahead(self, now_us: int) -> None:
        """Whether half of the time that is left is enough at this pace."""
        self._answers += 1
        left_us = (self.batch.expires_at - self._desk.files.now_s) * US_PER_S
        needed_us = len(self._pending) * (now_us - self._began_us) // self._answers
        self.width.hurried = needed_us > left_us // 2

    def _comes_again(self, place: int, answered: Answered, now_us: int) -> bool:
        verdict = asking.verdict(answered)
        if verdict == "denied":
            self._denied_us = self._denied_us or now_us
            self.width.pushed_back(now_us, US_PER_S)
            return True
        self._denied_us = 0
        if verdict == "busy":
            self.width.pushed_back(now_us, asking.wait_us(answered))
            return True
        if verdict == "broken":
            self._tries[place] += 1
            return self._tries[place] < TRIES_MAX
        return False

    async def _note(self, place: int, custom_id: str, answered: Answered) -> None:
        """Write the answer down. Raises OSError."""
        assert self._results is not None
        if answered.status == 409:  # done a day ago and more, or on a disk that was full or lost its end
            self._results.failed(place, custom_id, "answer_not_kept", str(asking.error(answered).get("message", "")))
            return
        charge: int | None = 0
        if answered.status == 200:
            charge = await asking.charge(self._desk.loopback, self.batch.key, answered)
        elif answered.status >= 500:
            charge = None
        try:
            body = msgspec.Raw(msgspec.json.format(answered.body, indent=-1))  # on one line, and JSON
        except msgspec.MsgspecError:
            self._results.failed(place, custom_id, "upstream_invalid", "the answer is not JSON", charge)
            return
        response = Response(status_code=answered.status, request_id=asking.request_id(answered), body=body)
        self._results.answered(place, custom_id, response, charge)

    async def _release(self, places: Sequence[int]) -> None:
        """Large answers that are written down: the gateway has kept them until now."""
        assert self._results is not None
        if places:
            await asyncio.to_thread(self._results.sync)
        for place in places:
            name = repeat_name(self.batch.tenant, self.batch.endpoint, f"{self.batch.id}/{place}")
            self._desk.repeats.release(name)

    def _line(self, place: int) -> lines.Line:
        start, end = self._input.starts[place], self._input.starts[place + 1]
        return lines.request(os.pread(self._source, end - start, start))

    # --- the end ------------------------------------------------------------------------------------------------

    async def _decide(self, ending: Status) -> None:
        """Note what it ends as, and under which names its files will be."""
        assert self._results is not None
        if ending in _UNDONE:
            await asyncio.to_thread(self._give_up, self._results, *_UNDONE[ending])
        counts = self._results.counts
        names: dict[str, Any] = {"output_file_id": new_id() if counts.completed else "",
                                 "error_file_id": new_id() if counts.failed else ""}  # fmt: skip
        if ending == "failed":
            message = "the key that made this batch is not known any more; make it again with another one"
            names["errors"] = (LineError(code="invalid_api_key", message=message),)
        shown: Status = "finalizing" if ending in ("completed", "expired") else self.batch.status
        await self._become(shown, ending=ending, counts=counts, **names)

    def _give_up(self, results: Results, code: str, message: str) -> None:
        for place in (place for place, done in enumerate(results.done) if not done):
            results.failed(place, self._line(place).custom_id, code, message, 0)

    async def _finish(self) -> None:
        """Make the files, and end."""
        ending = self.batch.ending
        assert ending is not None
        if self._results is None:  # a runner was killed here
            self._results = await asyncio.to_thread(Results, self._folder, self.batch.id, self.batch.total)
        await asyncio.to_thread(self._results.close)
        made = ((self.batch.output_file_id, ANSWERS), (self.batch.error_file_id, ERRORS))
        for name, journal in made:
            path = self._results.paths[journal]
            if name and path.exists():
                await self._desk.files.keep(path, await asyncio.to_thread(self._file, name, path))
        await self._become(ending, ending=None)

    def _file(self, name: str, path: Path) -> File:
        now_s, keep_s = self._desk.files.now_s, self.batch.output_expires_s
        return File(id=name, tenant=self.batch.tenant, purpose=OUTPUT, filename=f"{self.batch.id}_{path.name}",
                    bytes=path.stat().st_size, digest=digest(path), created_at=now_s,
                    expires_at=now_s + keep_s if keep_s else None)  # fmt: skip

    async def _become(self, status: Status, **more: Any) -> None:
        now_s = self._desk.files.now_s
        at = self.batch.at if status in self.batch.at else {**self.batch.at, status: now_s}
        self.batch = msgspec.structs.replace(self.batch, status=status, at=at, **more)
        await self._desk.records.put(record(self.batch))

    async def _call_off(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _close(self) -> None:
        await self._call_off()
        if self._source >= 0:
            os.close(self._source)
        if self._results is not None:
            await asyncio.to_thread(self._results.close)
        self._source, self._results = -1, None
        self._pending.clear()


def record(batch: Batch) -> Record:
    """As it is kept."""
    return Record(id=batch.id, kind=KIND, tenant=batch.tenant, data=msgspec.json.encode(batch),
                  open=batch.status not in ENDED)  # fmt: skip
