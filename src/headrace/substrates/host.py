"""The host: the parent of every process of one cloud on one machine, and the local substrate's serving half.

It restarts the controller and the gateways when they die and runs the workers the controller asks for; workers outlive
the controller since they are the host's children. When the host itself is killed the kernel takes all of them with it.
It decides nothing, keeps no state on disk but its pid, and is small because it is always there.
"""

import asyncio
import fcntl
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from headrace.ports import WorkerSpec, WorkerStatus
from headrace.settings import Settings
from headrace.substrates.part import Part
from headrace.substrates.supervisor import Supervisor

GATEWAY_GRACE_S: Final = 125.0
CONTROLLER_GRACE_S: Final = 10.0
WORKER_GRACE_US: Final = 5_000_000
FIRST_READY_S: Final = 30.0
_MESSAGE_BYTES_MAX: Final = 1 << 20


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


class Host:
    """The workers, and the connections that watch them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._workers: dict[str, Supervisor] = {}
        self._watchers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection of a controller until it ends."""
        try:
            while line := await reader.readline():
                ask = msgspec.json.decode(line, type=Ask)
                try:
                    reply: dict[str, Any] = {"id": ask.id, "ok": self._do(ask, writer)}
                except (KeyError, ValueError) as error:
                    reply = {"id": ask.id, "error": str(error)}
                writer.write(msgspec.json.encode(reply) + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError):
            pass
        finally:
            self._watchers.discard(writer)
            writer.close()

    async def stop_workers(self) -> None:
        """All of them, at once."""
        await asyncio.gather(*(worker.stop(WORKER_GRACE_US) for worker in self._workers.values()))

    def _do(self, ask: Ask, writer: asyncio.StreamWriter) -> Any:
        match ask.op:
            case "launch":
                assert ask.spec is not None
                if ask.spec.id not in self._workers:
                    self._workers[ask.spec.id] = Supervisor(ask.spec, self._settings.logs, self._tell)
            case "stop":
                if ask.worker in self._workers:
                    task = asyncio.get_running_loop().create_task(self._stop(ask.worker, ask.grace_us))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)
            case "kill":
                if ask.worker in self._workers:
                    self._workers[ask.worker].kill(ask.incarnation, ask.reason)
            case "workers":
                return [worker.status for worker in self._workers.values()]
            case "watch":
                for worker in self._workers.values():
                    writer.write(msgspec.json.encode({"watch": worker.status}) + b"\n")
                self._watchers.add(writer)
            case "logs":
                return list(self._workers[ask.worker].log.lines)[-ask.tail :]
            case _:
                raise ValueError(f"unknown operation {ask.op!r}")
        return None

    async def _stop(self, worker: str, grace_us: int) -> None:
        await self._workers[worker].stop(grace_us)
        self._workers.pop(worker, None)

    def _tell(self, status: WorkerStatus) -> None:
        line = msgspec.json.encode({"watch": status}) + b"\n"
        for writer in self._watchers:
            writer.write(line)


async def serve(
    settings: Settings,
    controller_argv: Sequence[str],
    gateway_argvs: Sequence[Sequence[str]],
    on_ready: Callable[[], None] = lambda: None,
) -> int:
    """Run the cloud until a signal; the exit status of the program."""
    with _one_host(settings) as locked:
        if not locked:
            print(f"headrace is already running in {settings.home}; see: headrace status", file=sys.stderr)
            return 1
        if problem := _port_problem(settings):
            print(problem, file=sys.stderr)
            return 1
        return await _run(settings, controller_argv, gateway_argvs, on_ready)


async def _run(
    settings: Settings,
    controller_argv: Sequence[str],
    gateway_argvs: Sequence[Sequence[str]],
    on_ready: Callable[[], None],
) -> int:
    loop = asyncio.get_running_loop()
    signals: asyncio.Queue[int] = asyncio.Queue()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.put_nowait, number)
    for stale in settings.run.glob("*.sock"):
        stale.unlink()
    settings.counters_file.unlink(missing_ok=True)
    host = Host(settings)
    server = await asyncio.start_unix_server(host.answer, str(settings.host_socket), limit=_MESSAGE_BYTES_MAX)
    settings.host_socket.chmod(0o600)
    (settings.home / "listen").write_text(settings.listen)
    controller = Part("controller", controller_argv, settings.logs)
    gateways = [Part(f"gateway-{number}", argv, settings.logs) for number, argv in enumerate(gateway_argvs)]
    announce = loop.create_task(_announce(settings, on_ready))
    await signals.get()
    announce.cancel()
    stopping = loop.create_task(_stop(host, controller, gateways))
    forced = loop.create_task(signals.get())
    await asyncio.wait([stopping, forced], return_when=asyncio.FIRST_COMPLETED)
    if not stopping.done():
        for part in (*gateways, controller):
            part.kill()
        await asyncio.wait([stopping])
    forced.cancel()
    server.close()
    return 0


async def _stop(host: Host, controller: Part, gateways: list[Part]) -> None:
    """Gateways first, so that open requests end well; then who starts replicas; then the replicas."""
    await asyncio.gather(*(gateway.stop(GATEWAY_GRACE_S) for gateway in gateways))
    await controller.stop(CONTROLLER_GRACE_S)
    await host.stop_workers()


async def _announce(settings: Settings, on_ready: Callable[[], None]) -> None:
    """Tell once that traffic is accepted."""
    while not await healthy(settings.host, settings.port):
        await asyncio.sleep(0.02)
    on_ready()


async def healthy(host: str, port: int) -> bool:
    """Whether the public door answers 200 on its health path."""
    try:
        reader, writer = await asyncio.open_connection(host if host not in ("0.0.0.0", "::") else "localhost", port)  # noqa: S104 - compared, not bound
        writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        status = await reader.readline()
        writer.close()
    except OSError:
        return False
    return status.split()[1:2] == [b"200"]


class _one_host:  # noqa: N801 - used as a function: `with _one_host(...) as locked`
    """One host a home: the pid file is locked as long as the process lives."""

    def __init__(self, settings: Settings) -> None:
        self._path: Path = settings.run / "host.pid"

    def __enter__(self) -> bool:
        self._file = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        os.ftruncate(self._file, 0)
        os.write(self._file, str(os.getpid()).encode())
        return True

    def __exit__(self, *error: object) -> None:
        os.close(self._file)


def _port_problem(settings: Settings) -> str:
    """Why the public address cannot be bound, empty when it can."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            return (
                f"cannot listen on {settings.listen}: {error.strerror}; give another address with --listen HOST:PORT, "
                f"or end what listens there"
            )
    return ""
