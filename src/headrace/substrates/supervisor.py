"""One worker kept running: start, wait until it is ready, notice its end at once, start again with back-off.

Lives in the host process, shared by every substrate that runs processes. It decides nothing about how many workers
there are; it keeps the promise of one. What a worker prints is not trusted: it may say that it is ready, and not where.
"""

import asyncio
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from headrace.ports import Post, WorkerSpec, WorkerStatus
from headrace.substrates import sandbox
from headrace.substrates.asking import status_of
from headrace.substrates.child import Child, ended_how
from headrace.substrates.logfile import LogFile
from headrace.substrates.strays import end_strays

FAST_CRASH_S: Final = 10.0
BACKOFF_FIRST_S: Final = 0.2
BACKOFF_LAST_S: Final = 30.0
SLEEP_S: Final = 60.0  # until it sleeps: weights are copied to RAM meanwhile
READY_PROBE_S: Final = 0.2
PROBE_ANSWER_S: Final = 2.0
_LOOPBACK: Final = ("http://127.0.0.1:", "http://[::1]:")


class Supervisor:
    """Keeps one worker running and tells every change of its status to `changed`.

    `logs` and `scratch` are the folders of all workers. The worker's own scratch folder is new at every start.
    """

    def __init__(self, spec: WorkerSpec, logs: Path, scratch: Path, changed: Callable[[WorkerStatus], None]) -> None:
        self.spec = spec
        self.status = WorkerStatus(id=spec.id, phase="pending", address=spec.address, labels=spec.labels)
        self.log = LogFile(logs / f"{spec.id}.log")
        self._scratch = scratch / spec.id
        self._socket = Path(spec.address.removeprefix("unix:")) if spec.address.startswith("unix:") else None
        self._socket_folder: Path | None = None  # when it was made for this worker
        self._changed = changed
        self._child: Child | None = None
        self._ready: asyncio.Future[str] | None = None
        self._stop = asyncio.Event()
        self._death = ""
        self._turning = False
        self._word: tuple[str, asyncio.Future[None]] | None = None  # what it is to say, and who waits for it
        self._task = asyncio.get_running_loop().create_task(self._keep())

    @property
    def stopping(self) -> bool:
        """Whether this worker was told to end."""
        return self._stop.is_set()

    async def stop(self, grace_us: int) -> None:
        """SIGTERM, SIGKILL after the grace, and done when the process is gone."""
        self._stop.set()
        if self._child is not None:
            self._child.terminate()
        done, _ = await asyncio.wait([self._task], timeout=grace_us / 1e6)
        if not done:
            self.kill_now()
            await asyncio.wait([self._task])
        if self.status.phase != "stopped":
            self._set(phase="stopped", pid=0)
        self._clear()

    def kill(self, incarnation: str, reason: str) -> None:
        """SIGKILL this incarnation and no other; the next one is started as after a crash."""
        if incarnation and incarnation == self.status.incarnation and self._child is not None:
            self._death = reason
            self._child.kill()

    def kill_now(self) -> None:
        """SIGKILL, and no restart."""
        self._stop.set()
        if self._child is not None:
            self._child.kill()

    # --- its life -----------------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        fast, restarts, why = 0, 0, ""
        while not self._stop.is_set():
            started = time.monotonic()
            why = await self._live_once(restarts)
            if self._stop.is_set():
                break
            never_ready = not self.status.ready_us
            if self.status.phase == "asleep":
                self._set(phase="stopped", pid=0, reason=f"{why} while it slept; nobody waits for it")
                self._clear()
                return
            fast = fast + 1 if never_ready or time.monotonic() - started < FAST_CRASH_S else 0
            if fast >= self.spec.fast_crashes_max:
                times = "in a row, before it was ready or soon after its start"
                self._set(phase="failed", pid=0, reason=f"{why}; {fast} times {times}")
                self._clear()
                return
            restarts += 1
            self._set(phase="starting", pid=0, incarnation="", ready_us=0, reason=why)
            await self._pause(min(BACKOFF_FIRST_S * 2 ** max(0, fast - 1), BACKOFF_LAST_S))
        self._set(phase="stopped", pid=0, reason=why or "stopped")

    async def _live_once(self, restarts: int) -> str:
        """One incarnation, from start to end; says how it ended."""
        self._death = ""
        incarnation = os.urandom(6).hex()
        self._ready = asyncio.get_running_loop().create_future()
        try:
            self._child = child = self._start(incarnation)
        except OSError as error:
            self._set(ready_us=0)
            return f"could not be started: {error.strerror or error}"
        self._set(
            phase="starting",
            incarnation=incarnation,
            pid=child.pid,
            restarts=restarts,
            started_us=now_us(),
            ready_us=0,
            woken=False,
        )
        probe = asyncio.ensure_future(self._until_answering()) if self.spec.ready_path else None
        timeout_s = self.spec.start_timeout_us / 1e6
        news: list[asyncio.Future[Any]] = [self._ready, child.ended]
        await asyncio.wait(news, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if probe is not None:
            probe.cancel()
        if child.ended.done():
            pass
        elif not self._ready.done():
            self._death = f"was not ready within {timeout_s:.0f} s"
            child.kill()
        elif self._own(self._ready.result()):
            self._set(phase="ready", address=self._ready.result(), ready_us=now_us(), reason="")
        else:
            self._death = "said that it is ready at an address that is not its own"
            child.kill()
        code = await asyncio.shield(child.ended)
        self._child = None
        self.log.end()
        end_strays("HEADRACE_INCARNATION", incarnation)
        why = self._death or ended_how(code)
        self.log.note(f"incarnation {incarnation}: {why}")
        return why

    def _start(self, incarnation: str) -> Child:
        self._clear()
        self._scratch.mkdir(mode=0o700, parents=True)
        if self._socket is not None and not self._socket.parent.exists():
            self._socket.parent.mkdir(mode=0o700)  # a folder of its own keeps it from others' sockets
            self._socket_folder = self._socket.parent
        env = sandbox.worker_environment(self._scratch, incarnation, self.spec.env)
        rules = sandbox.worker_rules(self.spec.argv, env, self.spec.address, self._scratch)
        try:
            return Child(
                self.spec.argv,
                env=env,
                before_exec=sandbox.bound_worker(os.getpid(), rules),
                printed=self._printed,
                folder=self._scratch,
            )
        finally:
            if rules is not None:
                os.close(rules)

    def _clear(self) -> None:
        """Nothing of an earlier incarnation is left: neither its files nor the name of its socket."""
        shutil.rmtree(self._scratch, ignore_errors=True)
        if self._socket is not None:
            self._socket.unlink(missing_ok=True)
        if self._socket_folder is not None:
            shutil.rmtree(self._socket_folder, ignore_errors=True)
            self._socket_folder = None

    # --- sleep --------------------------------------------------------------------------------------------------

    async def sleep(self, incarnation: str) -> None:
        """Have this incarnation sleep, if it is ready and can; one that does not in time is killed."""
        rest = self.spec.rest
        if rest is None or self.status.phase != "ready" or incarnation != self.status.incarnation or self._turning:
            return
        if await self._turned(rest.sleep, signal.SIGUSR1, "asleep", SLEEP_S):
            self._set(phase="asleep", incarnation=os.urandom(6).hex(), started_us=now_us())

    async def wake(self, incarnation: str) -> None:
        """Have it wake, if it sleeps; one that is not ready in time is killed, and started anew."""
        rest = self.spec.rest
        if rest is None or self.status.phase != "asleep" or incarnation != self.status.incarnation or self._turning:
            return
        self._set(phase="waking", incarnation=os.urandom(6).hex(), started_us=now_us(), ready_us=0, woken=True)
        if await self._turned(rest.wake, signal.SIGUSR2, "ready", self.spec.start_timeout_us / 1e6):
            self._set(phase="ready", ready_us=now_us(), reason="")

    async def _turned(self, posts: Sequence[Post], number: signal.Signals, word: str, within_s: float) -> bool:
        """Ask it, by requests or by a signal, and wait; killed when it does not do it in time."""
        child = self._child
        if child is None:
            return False
        self._turning = True
        try:
            if posts:
                done = await self._posted(posts, within_s)
            else:
                said = asyncio.get_running_loop().create_future()
                self._word = (word, said)
                child.signal(number)
                await asyncio.wait([said, child.ended], timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
                done = said.done()
        finally:
            self._turning, self._word = False, None
        if not done and not child.ended.done():
            self._death = f"was not {word} within {within_s:.0f} s"
            child.kill()
        return done and not child.ended.done()

    async def _posted(self, posts: Sequence[Post], within_s: float) -> bool:
        """Whether each request was answered well, in order and all of them in time."""
        end = time.monotonic() + within_s
        for post in posts:
            left_s = max(0.001, end - time.monotonic())
            status = await status_of(self.status.address, "POST", post.path, post.body, timeout_s=left_s)
            if not 200 <= status < 300:
                return False
        return True

    # --- is it ready? -------------------------------------------------------------------------------------------

    def _printed(self, data: bytes) -> None:
        for line in self.log.take(data):
            if self._word is not None and line.startswith(b"{") and _json(line).get(self._word[0]) is True:
                self._word[1].set_result(None)
                self._word = None
            if self.spec.ready_path or self._ready is None or self._ready.done() or not line.startswith(b"{"):
                continue
            said = _json(line)
            if said.get("ready") is True:
                self._ready.set_result(str(said.get("address") or self.spec.address))

    def _own(self, address: str) -> bool:
        """Whether a worker may say this: the address it was given, or, given none, a port of loopback."""
        if address == self.spec.address:
            return True
        if self.spec.address and not self.spec.address.endswith(":0"):
            return False
        return address.startswith(_LOOPBACK) and address.rpartition(":")[2].isdigit()

    async def _until_answering(self) -> None:
        """For programs that print no ready line: their health path answers 200."""
        while self._ready is not None and not self._ready.done():
            await asyncio.sleep(READY_PROBE_S)
            found = await status_of(self.spec.address, "GET", self.spec.ready_path, timeout_s=PROBE_ANSWER_S)
            if found == 200 and not self._ready.done():
                self._ready.set_result(self.spec.address)

    async def _pause(self, seconds: float) -> None:
        stopping = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait([stopping], timeout=seconds)
        stopping.cancel()

    def _set(self, **changes: Any) -> None:
        self.status = msgspec.structs.replace(self.status, **changes)
        self._changed(self.status)


async def answers(host: str, port: int, path: str) -> bool:
    """Whether this HTTP path answers 200, in time."""
    return await status_of(f"http://{host}:{port}", "GET", path, timeout_s=PROBE_ANSWER_S) == 200


def now_us() -> int:
    """Wall clock, microseconds."""
    return time.time_ns() // 1_000


def _json(line: bytes) -> dict[str, Any]:
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}
