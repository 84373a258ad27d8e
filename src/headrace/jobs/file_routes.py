"""Files over HTTP: a part of the runner's process."""

import asyncio
from typing import Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from headrace.errors import Invalid
from headrace.jobs import file as files_of
from headrace.jobs import lists
from headrace.jobs.file import FILE_BYTES_MAX, PURPOSES, ExpiresAfter, File
from headrace.jobs.files import Files
from headrace.jobs.upload import Form, receive
from headrace.serving.bodies import answer
from headrace.serving.caller import Door
from headrace.serving.storage import Storage

FORM_BYTES: Final = 128 << 10  # what a form may have beside its file, for a first look


class FileService:
    """`serving.Part`."""

    def __init__(self, files: Files, door: Door, storage: Storage) -> None:
        self._files, self._door, self._storage = files, door, storage
        self._sweeping: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Take away what was half done, and from now on what expires."""
        spool = self._files.spool
        await asyncio.to_thread(spool.mkdir, mode=0o700, parents=True, exist_ok=True)
        for left in await asyncio.to_thread(lambda: list(spool.iterdir())):
            await asyncio.to_thread(left.unlink)
        self._sweeping = asyncio.create_task(self._files.keep_swept())

    async def stop(self) -> None:
        """Sweep no more."""
        if self._sweeping is not None:
            self._sweeping.cancel()

    def routes(self) -> list[Route]:
        """Its paths."""
        at = "/v1/files"
        return [
            Route(at, self.list, methods=["GET"]),
            Route(at, self.upload, methods=["POST"]),
            Route(at + "/{file}", self.show, methods=["GET"]),
            Route(at + "/{file}", self.delete, methods=["DELETE"]),
            Route(at + "/{file}/content", self.content, methods=["GET"]),
        ]

    async def upload(self, request: Request) -> Response:
        """Keep a file; one that there is no room for is refused before it is read, where its length is told."""
        who, name = self._door.caller(request), files_of.new_id()
        told = int(request.headers.get("content-length", "0")) - FORM_BYTES
        self._storage.check(who.tenant, max(1, told))
        async with self._files.scratch(name) as spool:
            form = await receive(request, spool, file="file", bytes_max=FILE_BYTES_MAX)
            if not form.filename:
                raise Invalid("the form has no file", param="file", code="missing_required_parameter")
            if "purpose" not in form.fields:
                message = f"give a purpose: {', '.join(PURPOSES)}"
                raise Invalid(message, param="purpose", code="missing_required_parameter")
            now_s = self._files.now_s
            file = File(id=name, tenant=who.tenant, purpose=files_of.purpose(form.fields["purpose"]),
                        filename=files_of.name(form.filename), bytes=form.size, digest=form.digest, created_at=now_s,
                        expires_at=_expires(form, now_s))  # fmt: skip
            with self._storage.room(who.tenant, file.bytes):
                return answer((await self._files.keep(spool, file)).view())

    async def list(self, request: Request) -> Response:
        """The tenant's files, the newest first."""
        who, query = self._door.caller(request), request.query_params
        page = lists.asked(query, limit=10_000, limit_max=10_000, tag=query.get("purpose", ""))
        return answer(lists.shown([file.view() for file in self._files.page(who.tenant, page)], page))

    async def show(self, request: Request) -> Response:
        """One."""
        return answer(self._found(request).view())

    async def content(self, request: Request) -> Response:
        """Its bytes."""
        file = self._found(request)
        headers = {"content-length": str(file.bytes), "content-disposition": f'attachment; filename="{file.id}"'}
        return StreamingResponse(self._files.read(file), media_type="application/octet-stream", headers=headers)

    async def delete(self, request: Request) -> Response:
        """Take it away."""
        file = self._found(request)
        await self._files.delete(file)
        return answer({"id": file.id, "object": "file", "deleted": True})

    def _found(self, request: Request) -> File:
        return self._files.find(self._door.caller(request).tenant, request.path_params["file"])


def _expires(form: Form, now_s: int) -> int | None:
    anchor, seconds = (form.fields.get(f"expires_after[{word}]") for word in ("anchor", "seconds"))
    if anchor is None and seconds is None:
        return None
    if not (seconds or "").isdigit():
        message = f"expires_after[seconds] is {(seconds or '')[:20]!r}; give whole seconds"
        raise Invalid(message, param="expires_after.seconds")
    return now_s + ExpiresAfter(anchor or "", int((seconds or "")[:12])).check("expires_after").seconds
