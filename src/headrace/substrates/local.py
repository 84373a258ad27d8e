"""The local substrate: processes of this machine, kept by the host; this is the controller's half, over a socket.

`close` lets go of the workers and they run on; a new controller finds them by `workers`. A connection that ends is
made again and what was asked is asked again, since every operation is idempotent. The host is this process's parent,
so when it stays away both are about to end: then the call raises Unreachable.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Final

import msgspec

from headrace.errors import Permanent, Unreachable
from headrace.ports import WorkerSpec, WorkerStatus
from headrace.settings import Settings
from headrace.state.fleet import Device
from headrace.substrates import devices

ANSWER_S: Final = 10.0
BACKOFF_FIRST_S: Final = 0.05
BACKOFF_LAST_S: Final = 2.0
_MESSAGE_BYTES_MAX: Final = 16 << 20


class LocalSubstrate:
    """`ports.Substrate` over the host's socket."""

    def __init__(self, settings: Settings) -> None:
        self._path = settings.host_socket
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._watches: set[asyncio.Queue[WorkerStatus]] = set()
        self._devices: list[Device] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect to the host. Raises Unreachable."""
        try:
            reader, self._writer = await asyncio.open_unix_connection(self._path, limit=_MESSAGE_BYTES_MAX)
        except OSError as error:
            raise Unreachable(f"the host process cannot be reached at {self._path}: {error.strerror}") from None
        self._task = asyncio.get_running_loop().create_task(self._stay_connected(reader))

    async def close(self) -> None:
        """Let go; workers run on."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._writer is not None:
            self._writer.close()
            with suppress(OSError):
                await self._writer.wait_closed()

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

    async def sleep(self, worker: str, incarnation: str) -> None:
        """Have the host put one incarnation to sleep."""
        await self._ask("sleep", worker=worker, incarnation=incarnation)

    async def wake(self, worker: str, incarnation: str) -> None:
        """Have the host wake one that sleeps."""
        await self._ask("wake", worker=worker, incarnation=incarnation)

    async def workers(self) -> list[WorkerStatus]:
        """All workers the host keeps."""
        return msgspec.convert(await self._ask("workers"), list[WorkerStatus])

    async def watch(self) -> AsyncIterator[WorkerStatus]:
        """All workers, then every change; all again after a connection was lost."""
        queue: asyncio.Queue[WorkerStatus] = asyncio.Queue()
        self._watches.add(queue)
        try:
            await self._ask("watch")
            while True:
                yield await queue.get()
        finally:
            self._watches.discard(queue)

    async def logs(self, worker: str, tail: int = 200) -> list[str]:
        """The last lines of a worker. Raises Permanent when none of that name ever ran."""
        return msgspec.convert(await self._ask("logs", worker=worker, tail=tail), list[str])

    # --- the connection -----------------------------------------------------------------------------------------

    async def _ask(self, op: str, **more: Any) -> Any:
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        line = msgspec.json.encode({"id": number, "op": op, **more}) + b"\n"
        try:
            async with asyncio.timeout(ANSWER_S):
                while True:
                    if self._writer is not None:
                        self._writer.write(line)
                    if (said := await answer) is not None:
                        break
                    answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        except TimeoutError:
            raise Unreachable(f"the host process did not answer {op} within {ANSWER_S:.0f} s") from None
        finally:
            self._waiting.pop(number, None)
        if "error" in said:
            raise Permanent(said["error"])
        return said["ok"]

    async def _stay_connected(self, reader: asyncio.StreamReader) -> None:
        pause_s = BACKOFF_FIRST_S
        while True:
            with suppress(OSError, ValueError):
                while line := await reader.readline():
                    self._hear(msgspec.json.decode(line))
                    pause_s = BACKOFF_FIRST_S
            self._writer = None
            while self._writer is None:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, BACKOFF_LAST_S)
                with suppress(OSError):
                    reader, self._writer = await asyncio.open_unix_connection(self._path, limit=_MESSAGE_BYTES_MAX)
            if self._watches:
                self._writer.write(b'{"id":0,"op":"watch"}\n')
            for answer in self._waiting.values():
                if not answer.done():
                    answer.set_result(None)  # ask again

    def _hear(self, said: dict[str, Any]) -> None:
        if "watch" in said:
            status = msgspec.convert(said["watch"], WorkerStatus)
            for queue in self._watches:
                queue.put_nowait(status)
        elif (answer := self._waiting.get(said["id"])) is not None and not answer.done():
            answer.set_result(said)
