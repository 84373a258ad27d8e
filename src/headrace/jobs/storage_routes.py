"""What tenants keep, over HTTP: a part of the runner's process."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from headrace.serving.bodies import answer
from headrace.serving.caller import Door
from headrace.serving.storage import Storage


class StorageService:
    """`serving.Part`."""

    def __init__(self, storage: Storage, door: Door) -> None:
        self._storage, self._door = storage, door

    async def begin(self) -> None:
        """There is nothing to go on with."""

    async def stop(self) -> None:
        """There is nothing to leave."""

    def routes(self) -> list[Route]:
        """Its path."""
        return [Route("/headrace/v1/storage", self.show, methods=["GET"])]

    async def show(self, request: Request) -> Response:
        """Bytes by kind and the limit, of the caller's tenant; of all tenants for administrators."""
        who, kept = self._door.caller(request), self._storage.kept()
        names = sorted(kept) if who.role == "admin" else [who.tenant]
        data = [{"tenant": name, "used_bytes": sum(kept.get(name, {}).values()),
                 "limit_bytes": self._storage.terms.of(name).storage_bytes, "by": kept.get(name, {})}
                for name in names]  # fmt: skip
        return answer({"object": "list", "data": data})
