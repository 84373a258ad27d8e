"""A part of Headrace itself, the controller or a gateway, kept running by the host with its log in a file."""

import asyncio
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from headrace.substrates import sandbox
from headrace.substrates.child import Child, ended_how
from headrace.substrates.logfile import LogFile

BACKOFF_FIRST_S: Final = 0.1
BACKOFF_LAST_S: Final = 2.0
STEADY_S: Final = 5.0


class Part:
    """Restarted at once when it dies, later when it keeps dying; never while the host is stopping.

    `deaths` counts how often it ended unasked, `last` says how it ended the last time, `pid` is 0 between lives.
    """

    def __init__(self, name: str, argv: Sequence[str], logs: Path) -> None:
        self.name = name
        self.log = LogFile(logs / f"{name}.log")
        self.deaths = 0
        self.last = ""
        self._argv = argv
        self._child: Child | None = None
        self._stop = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._keep())

    @property
    def pid(self) -> int:
        """Of the process now; 0 when there is none."""
        return self._child.pid if self._child is not None else 0

    async def stop(self, grace_s: float) -> None:
        """SIGTERM, SIGKILL after the grace, and done when it is gone."""
        self._stop.set()
        if self._child is not None:
            self._child.terminate()
        done, _ = await asyncio.wait([self._task], timeout=grace_s)
        if not done:
            self.kill()
            await asyncio.wait([self._task])

    def kill(self) -> None:
        """SIGKILL, and no restart."""
        self._stop.set()
        if self._child is not None:
            self._child.kill()

    async def _keep(self) -> None:
        pause_s = BACKOFF_FIRST_S
        while not self._stop.is_set():
            start = time.monotonic()
            self.last = await self._live_once()
            if self._stop.is_set():
                return
            self.deaths += 1
            self.log.note(f"{self.name} {self.last}")
            if time.monotonic() - start > STEADY_S:
                pause_s = BACKOFF_FIRST_S
            stopping = asyncio.ensure_future(self._stop.wait())
            await asyncio.wait([stopping], timeout=pause_s)
            stopping.cancel()
            pause_s = min(pause_s * 2, BACKOFF_LAST_S)

    async def _live_once(self) -> str:
        try:
            self._child = Child(
                self._argv,
                env=sandbox.part_environment(),
                before_exec=sandbox.bound_part(os.getpid()),
                printed=self.log.take,
            )
        except OSError as error:
            return f"could not be started: {error.strerror or error}"
        code = await asyncio.shield(self._child.ended)
        self._child = None
        self.log.end()
        return ended_how(code)
