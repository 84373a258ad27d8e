"""The workers of one host, and the socket on which a controller asks for them: the serving half of `local`.

Made by `host`. JSON lines: `{"id", "op", ...}` is answered by `{"id", "ok"}` or `{"id", "error"}`; after `watch`,
`{"watch": WorkerStatus}` follows for every worker and then for every change. Who may connect is proven by the kernel:
whoever can launch workers can run anything, so a replica must not be able to.
"""

import asyncio
import re
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

import msgspec

from headrace import peer
from headrace.peer import Peer
from headrace.ports import WorkerSpec, WorkerStatus
from headrace.substrates.supervisor import Supervisor

MESSAGE_BYTES_MAX: Final = 1 << 20
UNREAD_BYTES_MAX: Final = 4 << 20  # a controller that does not read is cut off, and asks again
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@-]{0,199}")  # it names files


class Ask(msgspec.Struct, frozen=True):
    """One line from the controller."""

    id: int
    op: str
    spec: WorkerSpec | None = None
    worker: str = ""
    incarnation: str = ""
    reason: str = ""
    grace_us: int = 0
    tail: int = 200


class Workers:
    """All workers by id. `trusted` says of a peer whether it may ask."""

    def __init__(self, logs: Path, scratch: Path, trusted: Callable[[Peer], bool]) -> None:
        self._logs = logs
        self._scratch = scratch
        self._trusted = trusted
        self._workers: dict[str, Supervisor] = {}
        self._again: dict[str, WorkerSpec] = {}
        self._watchers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until it ends; one that says what cannot be read is closed."""
        try:
            if not self._trusted(peer.of(writer.get_extra_info("socket"))):
                return
            while line := await reader.readline():
                ask = msgspec.json.decode(line, type=Ask)
                try:
                    reply: dict[str, Any] = {"id": ask.id, "ok": self._do(ask, writer)}
                except ValueError as error:
                    reply = {"id": ask.id, "error": str(error)}
                writer.write(msgspec.json.encode(reply) + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError):
            return
        finally:
            self._watchers.discard(writer)
            writer.close()

    async def stop_all(self, grace_us: int) -> None:
        """All of them, at once."""
        self._again.clear()
        await asyncio.gather(*(self._stop(worker, grace_us) for worker in list(self._workers)))

    def kill_all(self) -> None:
        """SIGKILL for all, and no restart."""
        self._again.clear()
        for worker in self._workers.values():
            worker.kill_now()

    def _do(self, ask: Ask, writer: asyncio.StreamWriter) -> Any:
        match ask.op:
            case "launch":
                self._launch(ask.spec)
            case "stop":
                self._again.pop(ask.worker, None)
                if ask.worker in self._workers:
                    self._begin(self._stop(ask.worker, ask.grace_us))
            case "sleep" | "wake":
                if (known := self._workers.get(ask.worker)) is not None:
                    self._begin(known.sleep(ask.incarnation) if ask.op == "sleep" else known.wake(ask.incarnation))
            case "kill":
                if ask.worker in self._workers:
                    self._workers[ask.worker].kill(ask.incarnation, ask.reason)
            case "workers":
                return [worker.status for worker in self._workers.values()]
            case "watch":
                for worker in self._workers.values():
                    writer.write(_news(worker.status))
                self._watchers.add(writer)
            case "logs":
                return self._log(ask.worker, max(0, ask.tail))
            case _:
                raise ValueError(f"unknown operation {ask.op!r}")
        return None

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _launch(self, spec: WorkerSpec | None) -> None:
        if spec is None or not spec.argv or not _NAME.fullmatch(spec.id):
            raise ValueError("a launch needs a worker's spec, with a command and an id that can name a file")
        known = self._workers.get(spec.id)
        if known is None:
            self._workers[spec.id] = Supervisor(spec, self._logs, self._scratch, self._tell)
        elif known.stopping:
            self._again[spec.id] = spec  # when the old one is gone

    async def _stop(self, name: str, grace_us: int) -> None:
        worker = self._workers[name]
        await worker.stop(grace_us)
        if self._workers.get(name) is not worker:
            return  # it was told to stop twice
        del self._workers[name]
        if again := self._again.pop(name, None):
            self._launch(again)

    def _log(self, name: str, tail: int) -> list[str]:
        """The last lines of a worker; of one that is gone, what its file holds."""
        if name in self._workers:
            lines = list(self._workers[name].log.lines)
        else:
            file = self._logs / f"{name}.log"
            if not _NAME.fullmatch(name) or not file.is_file():
                raise ValueError(f"there is no worker {name!r}, and none of that name has left a log")
            with file.open("rb") as log:
                log.seek(max(0, file.stat().st_size - (MESSAGE_BYTES_MAX >> 1)))
                lines = log.read().decode(errors="replace").splitlines()
        return lines[-tail:] if tail else []

    def _tell(self, status: WorkerStatus) -> None:
        if status.phase == "stopped" and status.id in self._workers and not self._workers[status.id].stopping:
            del self._workers[status.id]  # it died asleep
        line = _news(status)
        for writer in list(self._watchers):
            if writer.transport.get_write_buffer_size() > UNREAD_BYTES_MAX:
                self._watchers.discard(writer)
                writer.transport.abort()
            else:
                writer.write(line)


def _news(status: WorkerStatus) -> bytes:
    return msgspec.json.encode({"watch": status}) + b"\n"
