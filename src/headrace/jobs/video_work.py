"""The life of one video: asked of the gateway as its key's holder, kept in the object store, durable throughout."""

import asyncio
import base64
import binascii
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from headrace.errors import Unreachable
from headrace.jobs.file import File, digest, new_id
from headrace.jobs.files import Files
from headrace.jobs.video import ENDED, Video
from headrace.ports import Record, Records, Repeats, repeat_name
from headrace.serving import asking
from headrace.serving.loopback import Answered, Loopback
from headrace.serving.storage import Storage

KIND: Final = "video"
PATH: Final = "/v1/videos/generations"
TRIES_MAX: Final = 3  # of one that broke on their side
WAIT_S: Final = 1.0
_DENIED_MAX: Final = 15  # a gateway that has just begun may not know the key yet


class Desk(NamedTuple):
    """What all videos work with; `files` is theirs alone."""

    records: Records
    files: Files
    loopback: Loopback
    repeats: Repeats
    storage: Storage


class _One(msgspec.Struct):
    b64_json: str


class _Made(msgspec.Struct):
    data: list[_One]


class Work:
    """One video at work."""

    def __init__(self, video: Video, desk: Desk) -> None:
        self.video = video
        self._desk = desk

    async def live(self) -> None:
        """To its end. Raises Transient when its bytes cannot be kept for now."""
        tries = denied = 0
        while self.video.status not in ENDED:
            if self.video.status == "queued":
                await self._become(status="in_progress", started_at=self._desk.files.now_s, file=new_id())
            try:
                answered = await self._ask()
            except Unreachable:
                await asyncio.sleep(WAIT_S)
                continue
            verdict = asking.verdict(answered)
            if verdict == "denied" and (denied := denied + 1) < _DENIED_MAX:
                await asyncio.sleep(WAIT_S)
            elif verdict == "busy":
                await asyncio.sleep(max(asking.wait_us(answered) / 1e6, WAIT_S))
            elif verdict == "broken" and (tries := tries + 1) < TRIES_MAX:
                await asyncio.sleep(WAIT_S)
            elif answered.status == 409:  # made for a runner that was killed; its answer is not kept: once more
                await self._become(attempt=self.video.attempt + 1)
            else:
                await self._end(answered)

    async def fail(self, code: str, message: str) -> None:
        """End it, because it cannot be gone on with."""
        await self._become(status="failed", error={"code": code, "message": message},
                           completed_at=self._desk.files.now_s)  # fmt: skip

    @property
    def _once(self) -> str:
        return f"{self.video.id}/{self.video.attempt}"

    async def _ask(self) -> Answered:
        headers = {"idempotency-key": self._once, "x-headrace-label": self._once}
        data = msgspec.json.encode(self.video.body())
        return await self._desk.loopback.send("POST", PATH, key=self.video.key, data=data, headers=headers)

    async def _end(self, answered: Answered) -> None:
        if answered.status != 200:
            error = asking.error(answered)
            message = str(error.get("message", f"the gateway answered {answered.status}"))
            await self.fail(str(error.get("code") or "failed"), message)
            return
        charge = await asking.charge(self._desk.loopback, self.video.key, answered)
        name = self.video.file
        async with self._desk.files.scratch(name) as spool:
            try:
                size = await asyncio.to_thread(_unpack, answered.body, spool)
            except (msgspec.MsgspecError, binascii.Error, IndexError):
                await self.fail("upstream_invalid", "the model's server gave an answer that is not valid")
                return
            file = File(id=name, tenant=self.video.tenant, purpose=KIND, filename=f"{self.video.id}.mp4", bytes=size,
                        digest=await asyncio.to_thread(digest, spool), created_at=self._desk.files.now_s)  # fmt: skip
            await self._desk.files.keep(spool, file)
        await self._become(status="completed", file=name, charge_nanousd=charge, completed_at=self._desk.files.now_s)
        self._desk.repeats.release(repeat_name(self.video.tenant, PATH, self._once))

    async def _become(self, **changes: Any) -> None:
        self.video = msgspec.structs.replace(self.video, **changes)
        await self._desk.records.put(record(self.video))


def record(video: Video) -> Record:
    """As it is kept."""
    return Record(id=video.id, kind=KIND, tenant=video.tenant, data=msgspec.json.encode(video),
                  open=video.status not in ENDED)  # fmt: skip


def _unpack(body: bytes, into: Path) -> int:
    """The video's bytes to a file; how many."""
    return into.write_bytes(base64.b64decode(msgspec.json.decode(body, type=_Made).data[0].b64_json, validate=True))
