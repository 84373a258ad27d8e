"""One worker kept running: start, wait until it is ready, notice its end at once, start again with back-off.

Lives in the host process, shared by every substrate that runs processes. It decides nothing about how many workers
there are; it keeps the promise of one.
"""

import asyncio
import json
import os
import secrets
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from headrace.ports import WorkerSpec, WorkerStatus
from headrace.substrates import sandbox
from headrace.substrates.logfile import LogFile

FAST_CRASH_S: Final = 10.0
BACKOFF_FIRST_S: Final = 0.2
BACKOFF_LAST_S: Final = 30.0
READY_PROBE_S: Final = 0.2
_LINE_LIMIT: Final = 1 << 16


class Supervisor:
    """Keeps one worker running and tells every change of its status to `changed`."""

    def __init__(self, spec: WorkerSpec, logs: Path, changed: Callable[[WorkerStatus], None]) -> None:
        self.spec = spec
        self.status = WorkerStatus(id=spec.id, phase="pending", address=spec.address, labels=spec.labels)
        self.log = LogFile(logs / f"{spec.id}.log")
        self._changed = changed
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()
        self._death = ""
        self._task = asyncio.get_running_loop().create_task(self._keep())

    async def stop(self, grace_us: int) -> None:
        """SIGTERM, SIGKILL after the grace, and done when the process is gone."""
        self._stopping.set()
        self._signal(signal.SIGTERM)
        done, _ = await asyncio.wait([self._task], timeout=grace_us / 1e6)
        if not done:
            self._signal(signal.SIGKILL)
            await self._task

    def kill(self, incarnation: str, reason: str) -> None:
        """SIGKILL this incarnation and no other; the next one is started as after a crash."""
        if incarnation == self.status.incarnation:
            self._death = reason
            self._signal(signal.SIGKILL)

    async def _keep(self) -> None:
        fast, restarts, why = 0, 0, ""
        while not self._stopping.is_set():
            started = time.monotonic()
            why = await self._live_once(restarts)
            if self._stopping.is_set():
                break
            fast = fast + 1 if time.monotonic() - started < FAST_CRASH_S else 0
            if fast >= self.spec.fast_crashes_max:
                self._set(phase="failed", pid=0, reason=f"{why}; {fast} times within {FAST_CRASH_S:.0f} s of its start")
                return
            restarts += 1
            self._set(phase="starting", pid=0, incarnation="", reason=why)
            await self._pause(min(BACKOFF_FIRST_S * 2 ** max(0, fast - 1), BACKOFF_LAST_S))
        self._set(phase="stopped", pid=0, reason=why or "stopped")

    async def _live_once(self, restarts: int) -> str:
        """One incarnation, from start to end; says how it ended."""
        self._death = ""
        incarnation = secrets.token_hex(6)
        if self.spec.address.startswith("unix:"):
            Path(self.spec.address.removeprefix("unix:")).unlink(missing_ok=True)
        try:
            self._process = process = await asyncio.create_subprocess_exec(
                *self.spec.argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env=sandbox.clean_environment({**self.spec.env, "HEADRACE_INCARNATION": incarnation}),
                preexec_fn=sandbox.bound_worker(os.getpid()),
                start_new_session=True,
                limit=_LINE_LIMIT,
            )
        except OSError as error:
            return f"could not be started: {error}"
        self._set(
            phase="starting",
            incarnation=incarnation,
            pid=process.pid,
            restarts=restarts,
            started_us=now_us(),
            ready_us=0,
        )
        ready = asyncio.ensure_future(self._until_ready(process))
        ended = asyncio.ensure_future(process.wait())
        await asyncio.wait(
            [ready, ended], timeout=self.spec.start_timeout_us / 1e6, return_when=asyncio.FIRST_COMPLETED
        )
        if ready.done() and not ready.cancelled() and ready.exception() is None and not ended.done():
            self._set(phase="ready", address=ready.result() or self.spec.address, ready_us=now_us(), reason="")
        elif not ended.done():
            self._death = f"was not ready within {self.spec.start_timeout_us / 1e6:.0f} s"
            self._signal(signal.SIGKILL)
        reader = asyncio.ensure_future(self._read_on(process, ready))
        code = await ended
        ready.cancel()
        await asyncio.wait([reader], timeout=1)
        reader.cancel()
        self._signal(signal.SIGKILL)  # whatever it left behind in its group
        return self._death or ended_how(code)

    async def _until_ready(self, process: asyncio.subprocess.Process) -> str:
        if self.spec.ready_path:
            return await self._until_answering()
        assert process.stdout is not None
        while line := await _line(process.stdout):
            self.log.add(line)
            if line.startswith(b"{") and (said := _json(line)).get("ready") is True:
                return str(said.get("address", ""))
        raise EOFError

    async def _until_answering(self) -> str:
        """For programs that print no ready line: their health path answers 200."""
        host, _, port = self.spec.address.removeprefix("http://").rpartition(":")
        while True:
            await asyncio.sleep(READY_PROBE_S)
            try:
                reader, writer = await asyncio.open_connection(host, int(port))
            except OSError:
                continue
            writer.write(f"GET {self.spec.ready_path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
            status = await reader.readline()
            writer.close()
            if status.split()[1:2] == [b"200"]:
                return self.spec.address

    async def _read_on(self, process: asyncio.subprocess.Process, ready: "asyncio.Future[str]") -> None:
        assert process.stdout is not None
        if not self.spec.ready_path:
            await asyncio.wait([ready])
        while line := await _line(process.stdout):
            self.log.add(line)

    async def _pause(self, seconds: float) -> None:
        stopping = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait([stopping], timeout=seconds)
        stopping.cancel()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            return

    def _set(self, **changes: Any) -> None:
        self.status = msgspec.structs.replace(self.status, **changes)
        self._changed(self.status)


def ended_how(code: int) -> str:
    """How a process ended, in words."""
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"exited with status {code}"


def now_us() -> int:
    """Wall clock, microseconds."""
    return time.time_ns() // 1_000


async def _line(stream: asyncio.StreamReader) -> bytes:
    """The next line; one that is too long is cut, not fatal."""
    try:
        return await stream.readuntil(b"\n")
    except asyncio.IncompleteReadError as error:
        return error.partial
    except asyncio.LimitOverrunError as error:
        return await stream.read(error.consumed or _LINE_LIMIT)


def _json(line: bytes) -> dict[str, Any]:
    try:
        said = json.loads(line)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
