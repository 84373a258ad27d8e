"""A part of Headrace itself, the controller or a gateway, kept running by the host with its log in a file."""

import asyncio
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from headrace.substrates import sandbox

BACKOFF_FIRST_S: Final = 0.1
BACKOFF_LAST_S: Final = 2.0
STEADY_S: Final = 5.0
LOG_BYTES_MAX: Final = 16 << 20


class Part:
    """Restarted at once when it dies, later when it keeps dying; never while the host is stopping."""

    def __init__(self, name: str, argv: Sequence[str], logs: Path) -> None:
        self.name = name
        self._argv = argv
        self._log = logs / f"{name}.log"
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = False
        self.starts = 0
        self.task = asyncio.get_running_loop().create_task(self._keep())

    async def stop(self, grace_s: float) -> None:
        """SIGTERM, then SIGKILL after the grace."""
        self._stopping = True
        self._signal(signal.SIGTERM)
        done, _ = await asyncio.wait([self.task], timeout=grace_s)
        if not done:
            self._signal(signal.SIGKILL)
            await self.task

    def kill(self) -> None:
        """SIGKILL, and no restart."""
        self._stopping = True
        self._signal(signal.SIGKILL)

    async def _keep(self) -> None:
        pause = BACKOFF_FIRST_S
        while not self._stopping:
            start = time.monotonic()
            await self._live_once()
            if time.monotonic() - start > STEADY_S:
                pause = BACKOFF_FIRST_S
            if not self._stopping:
                await asyncio.sleep(pause)
                pause = min(pause * 2, BACKOFF_LAST_S)

    async def _live_once(self) -> None:
        self.starts += 1
        if self._log.exists() and self._log.stat().st_size > LOG_BYTES_MAX:
            self._log.replace(self._log.with_suffix(".log.1"))
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=sandbox.bound_part(os.getpid()),
                start_new_session=True,
            )
        await self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)
