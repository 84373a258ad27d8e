"""The local substrate: processes of this machine, kept by the host; this is the controller's half, over a socket.

`close` lets go of the workers and they run on; a new controller finds them by `workers`. When the host cannot be
reached the call raises Unreachable: the host is this process's parent, so both are about to end.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec

from headrace.errors import Permanent, Unreachable
from headrace.ports import WorkerSpec, WorkerStatus
from headrace.settings import Settings
from headrace.state.fleet import Device
from headrace.substrates import devices

_MESSAGE_BYTES_MAX: Final = 1 << 22


class LocalSubstrate:
    """`ports.Substrate` over the host's socket."""

    def __init__(self, settings: Settings) -> None:
        self._path = settings.host_socket
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._watches: list[asyncio.Queue[WorkerStatus]] = []
        self._devices: list[Device] | None = None

    async def start(self) -> None:
        """Connect to the host."""
        try:
            self._reader, self._writer = await asyncio.open_unix_connection(self._path, limit=_MESSAGE_BYTES_MAX)
        except OSError as error:
            raise Unreachable(f"the host process cannot be reached at {self._path}: {error.strerror}") from None
        self._task = asyncio.get_running_loop().create_task(self._listen())

    async def close(self) -> None:
        """Let go; workers run on."""
        self._task.cancel()
        self._writer.close()

    async def devices(self) -> list[Device]:
        """Asked of the machine once: devices do not come and go."""
        if self._devices is None:
            self._devices = await asyncio.to_thread(devices.devices)
        return self._devices

    async def launch(self, spec: WorkerSpec) -> None:
        """Have the host keep this worker running."""
        await self._ask("launch", spec=spec)

    async def stop(self, worker: str, grace_us: int) -> None:
        """SIGTERM now, SIGKILL after the grace."""
        await self._ask("stop", worker=worker, grace_us=grace_us)

    async def kill(self, worker: str, incarnation: str, reason: str) -> None:
        """SIGKILL one incarnation."""
        await self._ask("kill", worker=worker, incarnation=incarnation, reason=reason)

    async def workers(self) -> list[WorkerStatus]:
        """All workers the host keeps."""
        return msgspec.convert(await self._ask("workers"), list[WorkerStatus])

    async def watch(self) -> AsyncIterator[WorkerStatus]:
        """All workers, then every change."""
        queue: asyncio.Queue[WorkerStatus] = asyncio.Queue()
        self._watches.append(queue)
        await self._ask("watch")
        while True:
            yield await queue.get()

    async def logs(self, worker: str, tail: int = 200) -> list[str]:
        """The last lines of a worker."""
        return msgspec.convert(await self._ask("logs", worker=worker, tail=tail), list[str])

    async def _ask(self, op: str, **more: Any) -> Any:
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        self._writer.write(msgspec.json.encode({"id": number, "op": op, **more}) + b"\n")
        return await answer

    async def _listen(self) -> None:
        while line := await self._reader.readline():
            said = msgspec.json.decode(line)
            if "watch" in said:
                status = msgspec.convert(said["watch"], WorkerStatus)
                for queue in self._watches:
                    queue.put_nowait(status)
            elif answer := self._waiting.pop(said["id"], None):
                if "error" in said:
                    answer.set_exception(Permanent(said["error"]))
                else:
                    answer.set_result(said["ok"])
        for answer in self._waiting.values():
            answer.set_exception(Unreachable("the host process is gone"))
