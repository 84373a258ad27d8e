"""Videos over HTTP: a part of the runner's process, with the videos that it goes on with."""

import asyncio
from contextlib import suppress
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from headrace import telemetry
from headrace.errors import HeadraceError, Invalid, Transient
from headrace.jobs import lists
from headrace.jobs import video as videos_of
from headrace.jobs.upload import receive
from headrace.jobs.video import ENDED, Asked, Video
from headrace.jobs.video_work import KIND, PATH, Desk, Work, record
from headrace.serving import asking, bodies
from headrace.serving.bodies import answer
from headrace.serving.caller import Door

AGAIN_S: Final = 1.0
FORM_BYTES_MAX: Final = 16 << 20
_FIELDS: Final = frozenset(Asked.__struct_fields__)


class VideoService:
    """`serving.Part`."""

    def __init__(self, desk: Desk, door: Door) -> None:
        self._desk, self._door = desk, door
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._pace: dict[str, float] = {}  # seconds of making for a second of a pixel, by model

    async def begin(self) -> None:
        """Go on with the videos that have not ended."""
        for one in self._desk.records.open(KIND):
            self._spawn(msgspec.json.decode(one.data, type=Video))

    async def stop(self) -> None:
        """Leave every video where it is; what the gateway works on for it is called off."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def routes(self) -> list[Route]:
        """Its paths."""
        at = "/v1/videos"
        return [
            Route(at, self.list, methods=["GET"]),
            Route(at, self.create, methods=["POST"]),
            Route(at + "/{video}", self.show, methods=["GET"]),
            Route(at + "/{video}", self.delete, methods=["DELETE"]),
            Route(at + "/{video}/content", self.content, methods=["GET"]),
        ]

    async def create(self, request: Request) -> Response:
        """Begin a video; what the gateway would refuse is refused here and now."""
        who, asked = self._door.caller(request), await self._asked(request)
        self._desk.storage.check(who.tenant)
        video = Video(id=videos_of.new_id(), tenant=who.tenant, key=who.key, model=asked.model, prompt=asked.prompt,
                      seconds=asked.check(), size=asked.size, seed=asked.seed, fps=asked.fps,
                      created_at=self._desk.files.now_s)  # fmt: skip
        await asking.welcome(self._desk.loopback, who.key, PATH, msgspec.json.encode(video.body()))
        await self._desk.records.put(record(video))
        self._spawn(video)
        return answer(video.view())

    async def list(self, request: Request) -> Response:
        """The tenant's videos, the newest first."""
        who, page = self._door.caller(request), lists.asked(request.query_params, limit_max=100)
        found = [msgspec.json.decode(one.data, type=Video) for one in self._desk.records.page(KIND, who.tenant, page)]
        return answer(lists.shown([self._view(video) for video in found], page))

    async def show(self, request: Request) -> Response:
        """One."""
        return answer(self._view(self._found(request)))

    async def content(self, request: Request) -> Response:
        """Its bytes, as MP4."""
        video, variant = self._found(request), request.query_params.get("variant", "video")
        if variant != "video":
            raise Invalid(f"variant is {variant[:20]!r}; only video is made", param="variant")
        if video.status != "completed":
            message = f"{video.id} is {video.status}; its content is there when it is completed"
            raise Invalid(message, code="conflict", status=409)
        file = self._desk.files.find(video.tenant, video.file)
        headers = {"content-length": str(file.bytes)}
        return StreamingResponse(self._desk.files.read(file), media_type="video/mp4", headers=headers)

    async def delete(self, request: Request) -> Response:
        """Take it away; one that is at work is called off."""
        video = self._found(request)
        task = self._tasks.get(video.id)
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
            video = self._found(request)
        await self._desk.records.delete(video.id)
        with suppress(Invalid):  # nothing was made
            await self._desk.files.delete(self._desk.files.find(video.tenant, video.file))
        return answer({"id": video.id, "object": "video.deleted", "deleted": True})

    async def _asked(self, request: Request) -> Asked:
        if not request.headers.get("content-type", "").startswith("multipart/"):
            asked: Asked = await bodies.read(request, Asked)
            return asked
        async with self._desk.files.scratch(videos_of.new_id()) as spool:
            form = await receive(request, spool, file="input_reference", bytes_max=FORM_BYTES_MAX)
        if form.filename:
            raise Invalid("input_reference is not taken by any model here; leave it out", param="input_reference")
        unknown = form.fields.keys() - _FIELDS
        if unknown:
            raise Invalid(f"there is no {min(unknown)[:40]!r} here; known are {', '.join(sorted(_FIELDS))}")
        try:
            return msgspec.convert(form.fields, Asked, strict=False)
        except msgspec.ValidationError as error:
            raise Invalid(f"the form cannot be used: {error}", code="invalid_body") from None

    def _found(self, request: Request) -> Video:
        who, name = self._door.caller(request), request.path_params["video"]
        found = self._desk.records.get(KIND, who.tenant, name)
        if found is None:
            raise Invalid(f"there is no video {name[:60]!r}", code="not_found", status=404)
        return msgspec.json.decode(found.data, type=Video)

    def _view(self, video: Video) -> dict[str, Any]:
        """With how far it should be by now, as long as the last one of its model took."""
        pace = self._pace.get(video.model)
        if video.status != "in_progress" or video.started_at is None or pace is None:
            return video.view()
        spent_s = self._desk.files.now_s - video.started_at
        return video.view(min(99, int(100 * spent_s / max(pace * video.work, 1.0))))

    def _spawn(self, video: Video) -> None:
        work = Work(video, self._desk)
        task = asyncio.create_task(self._live(work))
        self._tasks[video.id] = task
        task.add_done_callback(lambda _: self._tasks.pop(video.id, None))

    async def _live(self, work: Work) -> None:
        while work.video.status not in ENDED:
            try:
                await work.live()
            except Transient as error:
                telemetry.logger().info("video.waits", video=work.video.id, error=str(error))
                await asyncio.sleep(AGAIN_S)
            except HeadraceError as error:
                await work.fail("unavailable", str(error))
        video = work.video
        if video.status == "completed" and video.started_at is not None and video.completed_at is not None:
            self._pace[video.model] = (video.completed_at - video.started_at) / video.work
