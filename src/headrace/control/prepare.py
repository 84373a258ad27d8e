"""Prepares the weights of models that are not prepared yet: one at a time, each in a process of its own.

A preparation that is cut short, by whatever end of this process, ends with it and is begun again. One that failed is
tried again while its model is wanted, after a minute, then after twice that and so on; at once when the model is
changed or deployed anew; and not at all when nothing is asked of it. Requests for a model in preparation are held.
"""

import asyncio
import ctypes
import os
import signal
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from headrace import telemetry
from headrace.ports import Artifact, Clock
from headrace.specs.catalog import ModelSpec

RETRY_US: Final = 60_000_000
RETRY_LAST_US: Final = 16 * RETRY_US
_NICE: Final = 5
_LINES_KEPT: Final = 20
_LINE_CHARS_MAX: Final = 500
_PR_SET_PDEATHSIG: Final = 1
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the last of `tries` preparations came to nothing, and when it ended."""

    reason: str
    at_us: int
    tries: int

    @property
    def again_us(self) -> int:
        """The moment of the next try, if it is wanted then.

        Formula: at + min(RETRY_US 2^(tries - 1), RETRY_LAST_US)
        Units: microseconds of the clock that never goes back.

        Example:
            >>> [Failure("", 0, tries).again_us // RETRY_US for tries in (1, 2, 3, 5, 60)]
            [1, 2, 4, 16, 16]

        """
        return self.at_us + min(RETRY_US << min(self.tries - 1, 16), RETRY_LAST_US)


class Preparer:
    """Knows each model's artifact, or makes it. `changed` is called when something new is known.

    `decide` notes a failure with its reason, as `Records.decide` does: once, however often it is tried again.
    """

    def __init__(
        self,
        find: Callable[[ModelSpec], Artifact | None],
        argv: Sequence[str],
        decide: Callable[[str, str, str], None],
        clock: Clock,
        changed: Callable[[], None],
    ) -> None:
        self._find = find
        self._argv = argv
        self._decide = decide
        self._clock = clock
        self._changed = changed
        self._known: dict[tuple[str, str], Artifact] = {}
        self._failed: dict[tuple[str, str], Failure] = {}
        self._told: dict[tuple[str, str], str] = {}  # the last reason of each that failed
        self._task: asyncio.Task[None] | None = None
        self.busy_with = ""
        self.says = ""

    def artifact(self, model: ModelSpec) -> Artifact | None:
        """The model's prepared weights, if they are there."""
        name = (model.key, model.digest)
        if name not in self._known:
            found = self._find(model)
            if found is None:
                return None
            self._known[name] = found
        return self._known[name]

    def forget(self, key: str) -> None:
        """A replica of this model failed: look at the disk again before the next one is started."""
        self._known = {name: artifact for name, artifact in self._known.items() if name[0] != key}

    def fault(self, model: ModelSpec) -> str:
        """Why the model could not be prepared; empty when it could, or was not tried."""
        failed = self._failed.get((model.key, model.digest))
        return failed.reason if failed is not None else ""

    def anew(self, model: ModelSpec) -> None:
        """What went wrong before counts no more: somebody asks for it who may have put it right."""
        self._failed.pop((model.key, model.digest), None)

    def want(self, wanted: Sequence[ModelSpec], ahead: Sequence[ModelSpec] = ()) -> None:
        """Prepare the first of these that is not prepared; of those that only may be wanted one day, each once."""
        if self._task is not None:
            return
        now_us = self._clock.monotonic_us()
        for number, model in enumerate((*wanted, *ahead)):
            failed = self._failed.get((model.key, model.digest))
            due = failed is None or (number < len(wanted) and now_us >= failed.again_us)
            if due and self.artifact(model) is None:
                self.busy_with = model.key
                self._task = asyncio.get_running_loop().create_task(self._prepare(model))
                return

    async def close(self) -> None:
        """End a preparation that is going on."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _prepare(self, model: ModelSpec) -> None:
        start_us = self._clock.monotonic_us()
        try:
            status, lines = await self._run(model)
        finally:
            self._task = None
            self.busy_with = self.says = ""
        name = (model.key, model.digest)
        now_us, before = self._clock.monotonic_us(), self._failed.pop(name, None)
        if status == 0 and self.artifact(model) is not None:
            telemetry.logger().info("model.prepared", model=model.key, seconds=round((now_us - start_us) / 1e6, 2))
            if self._told.pop(name, ""):
                self._decide("model.prepared", model.key, "its weights are prepared now")
        else:
            last = lines[-1] if lines else f"ended with status {status}"
            reason = f"its weights could not be prepared: {last}"
            self._failed[name] = Failure(reason, now_us, before.tries + 1 if before is not None else 1)
            telemetry.logger().error("model.not_prepared", model=model.key, status=status, said=list(lines))
            if self._told.get(name) != reason:
                self._told[name] = reason
                self._decide("model.unprepared", model.key, reason)
        self._changed()

    async def _run(self, model: ModelSpec) -> tuple[int, deque[str]]:
        """The exit status, and the last lines it printed."""
        parent = os.getpid()

        def before_exec() -> None:
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != parent:  # the controller ended between fork and here
                os._exit(1)
            os.nice(_NICE)

        lines: deque[str] = deque(maxlen=_LINES_KEPT)
        try:
            process = await asyncio.create_subprocess_exec(
                *self._argv,
                model.key,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                preexec_fn=before_exec,
            )
        except OSError as error:
            lines.append(f"its process could not be started: {error}")
            return 127, lines
        assert process.stderr is not None
        try:
            rest = b""
            while data := await process.stderr.read(4096):  # not by line: a progress bar has none
                *whole, rest = (rest + data).replace(b"\r", b"\n").split(b"\n")
                rest = rest[-_LINE_CHARS_MAX:]
                lines.extend(line.decode(errors="replace")[:_LINE_CHARS_MAX] for line in whole if line.strip())
                self.says = lines[-1] if lines else ""
            if rest.strip():
                lines.append(rest.decode(errors="replace"))
            return await process.wait(), lines
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise
