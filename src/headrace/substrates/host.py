"""The host: the parent of every process of one cloud on one machine.

It restarts the controller and the gateways when they die and runs the workers the controller asks for; workers outlive
the controller since they are the host's children. When the host itself is killed the kernel takes all of them with it.
It decides nothing, keeps no state on disk but its pid, and is small because it is always there.
"""

import asyncio
import fcntl
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from headrace.peer import Peer
from headrace.settings import Settings
from headrace.substrates import sandbox
from headrace.substrates.part import Part
from headrace.substrates.strays import end_strays
from headrace.substrates.supervisor import answers
from headrace.substrates.workers import MESSAGE_BYTES_MAX, Workers

GATEWAY_GRACE_S: Final = 125.0
CONTROLLER_GRACE_S: Final = 10.0
WORKER_GRACE_US: Final = 5_000_000
FORCED_S: Final = 5.0
FIRST_DEATHS_MAX: Final = 3
# After a crash the kernel may still be ending the predecessor's processes, which hold the lock and the port.
PREDECESSOR_S: Final = 2.0
PREDECESSOR_PORT_S: Final = 0.5
_POLL_S: Final = 0.02
_LAST_LINES: Final = 5


async def serve(
    settings: Settings,
    controller_argv: Sequence[str],
    gateway_argvs: Sequence[Sequence[str]],
    on_ready: Callable[[], None] = lambda: None,
    others: Mapping[str, Sequence[str]] = {},
) -> int:
    """Run the cloud until SIGTERM, SIGINT or SIGHUP; the exit status of the program.

    `on_ready` is called once, when the public door answers. What keeps the cloud from starting is told on standard
    error, and the status is 1. A second signal ends everything at once.
    """
    os.umask(0o077)
    sandbox.keep_to_itself()
    for folder in (settings.home, settings.logs):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _only_host(settings) as other:
        if other:
            print(f"headrace is already running in {settings.home} (process {other})", file=sys.stderr)
            return 1
        _clear_up(settings)
        if problem := await _port_problem(settings):
            print(problem, file=sys.stderr)
            return 1
        return await Host(settings, controller_argv, gateway_argvs, others).run(on_ready)


class Host:
    """The parts and the workers of one cloud."""

    def __init__(
        self,
        settings: Settings,
        controller_argv: Sequence[str],
        gateway_argvs: Sequence[Sequence[str]],
        others: Mapping[str, Sequence[str]],
    ) -> None:
        self._settings = settings
        self._other_argvs = others
        self._controller_argv, self._gateway_argvs = controller_argv, gateway_argvs
        self._workers = Workers(settings.logs, settings.home / "scratch", self._asked_by_controller)

    def _asked_by_controller(self, peer: Peer) -> bool:
        """A replica runs as the same user, so the user alone says nothing: it must be our own child."""
        return peer.own and peer.pid == self._controller.pid

    async def run(self, on_ready: Callable[[], None]) -> int:
        """Until a signal; the exit status."""
        loop = asyncio.get_running_loop()
        signals: asyncio.Queue[int] = asyncio.Queue()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, signals.put_nowait, number)
        path = self._settings.host_socket
        server = await asyncio.start_unix_server(self._workers.answer, str(path), limit=MESSAGE_BYTES_MAX)
        path.chmod(0o600)
        (self._settings.home / "listen").write_text(self._settings.listen)
        logs = self._settings.logs
        self._controller = Part("controller", self._controller_argv, logs)
        self._gateways = [Part(f"gateway-{index}", argv, logs) for index, argv in enumerate(self._gateway_argvs)]
        self._others = [Part(name, argv, logs) for name, argv in self._other_argvs.items()]
        signalled = loop.create_task(signals.get())
        beginning = loop.create_task(self._begin(on_ready))
        await asyncio.wait([signalled, beginning], return_when=asyncio.FIRST_COMPLETED)
        problem = "" if signalled.done() else beginning.result()
        if not problem:
            await asyncio.wait([signalled])
        beginning.cancel()
        stopping = loop.create_task(self._stop())
        forced = loop.create_task(signals.get())
        await asyncio.wait([stopping, forced], return_when=asyncio.FIRST_COMPLETED)
        if not stopping.done():
            self._kill()
            await asyncio.wait([stopping], timeout=FORCED_S)
        forced.cancel()
        server.close()
        if problem:
            print(problem, file=sys.stderr)
        return 1 if problem else 0

    async def _begin(self, on_ready: Callable[[], None]) -> str:
        """Wait until traffic is accepted and tell so; or why it will not be."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._settings.host, self._settings.host)  # noqa: S104 - compared
        while not await answers(host, self._settings.port, "/health"):
            for part in (*self._gateways, self._controller):
                if part.deaths >= FIRST_DEATHS_MAX:
                    lines = [f"the {part.name} {part.last}, {part.deaths} times; it said last:"]
                    said = [line for line in part.log.lines if not line.startswith("headrace: ")]
                    return "\n".join([*lines, *said[-_LAST_LINES:]])
            await asyncio.sleep(_POLL_S)
        on_ready()
        return ""

    async def _stop(self) -> None:
        """Who asks gateways first; gateways, so that open requests end well; who starts replicas; the replicas."""
        await asyncio.gather(*(other.stop(CONTROLLER_GRACE_S) for other in self._others))
        await asyncio.gather(*(gateway.stop(GATEWAY_GRACE_S) for gateway in self._gateways))
        await self._controller.stop(CONTROLLER_GRACE_S)
        await self._workers.stop_all(WORKER_GRACE_US)

    def _kill(self) -> None:
        for part in (*self._others, *self._gateways, self._controller):
            part.kill()
        self._workers.kill_all()


@contextmanager
def _only_host(settings: Settings) -> Iterator[int]:
    """Hold the home; gives 0, or the process that holds it. The lock lives as long as the process.

    At a clean end the folder of sockets goes, where it is outside of the home since the home's name is long.
    """
    file, end = _pid_file(settings), time.monotonic() + PREDECESSOR_S
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(file).st_nlink:
                break
            os.close(file)  # whoever held it has just ended and taken its folder away
            file = _pid_file(settings)
        except BlockingIOError:
            other = os.pread(file, 20, 0).decode(errors="replace")
            if other.isdigit() and (_alive(int(other)) or time.monotonic() > end):
                os.close(file)
                yield int(other)
                return
            time.sleep(_POLL_S)  # nothing else runs yet
    try:
        os.ftruncate(file, 0)
        os.pwrite(file, str(os.getpid()).encode(), 0)
        yield 0
        if settings.run.parent != settings.home:  # where nobody looks after it, as they do after the home
            shutil.rmtree(settings.run, ignore_errors=True)
    finally:
        os.close(file)


def _pid_file(settings: Settings) -> int:
    """The open pid file; its folder is made again where a predecessor takes it away in this moment."""
    while True:
        settings.run.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            return os.open(settings.run / "host.pid", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _clear_up(settings: Settings) -> None:
    """What a killed host left: helpers of its engines, names of sockets, shared counters, scratch files."""
    scratch = settings.home / "scratch"
    end_strays("HOME", f"{scratch}/")
    shutil.rmtree(scratch, ignore_errors=True)
    for stale in settings.run.glob("*.sock"):
        stale.unlink(missing_ok=True)
    for folder in settings.run.glob("engine-*"):
        shutil.rmtree(folder, ignore_errors=True)
    settings.counters_file.unlink(missing_ok=True)
    settings.shares_file.unlink(missing_ok=True)


async def _port_problem(settings: Settings) -> str:
    """Why the public address cannot be bound, empty when it can."""
    if not settings.port:
        return f"cannot listen on {settings.listen}: a port must be given, like --listen 127.0.0.1:8780"
    end = time.monotonic() + PREDECESSOR_PORT_S
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    while True:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((settings.host, settings.port))
                return ""
            except OSError as error:
                if time.monotonic() > end:
                    return (
                        f"cannot listen on {settings.listen}: {error.strerror}; "
                        f"give another address with --listen HOST:PORT, or end what listens there"
                    )
        await asyncio.sleep(_POLL_S)
