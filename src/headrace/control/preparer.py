"""Prepares the weights of models that are not prepared yet: one at a time, each in a process of its own.

A preparation that is cut short is begun again; one that failed waits until its model is changed or some time has
passed. Requests for a model in preparation are held.
"""

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from typing import Final

from headrace import telemetry
from headrace.ports import Artifact
from headrace.specs.catalog import ModelSpec

RETRY_S: Final = 60.0
_NICE: Final = 5


class Preparer:
    """Knows each model's artifact, or makes it. `changed` is called when something new is known."""

    def __init__(
        self, find: Callable[[ModelSpec], Artifact | None], argv: Sequence[str], changed: Callable[[], None]
    ) -> None:
        self._find = find
        self._argv = argv
        self._changed = changed
        self._known: dict[tuple[str, str], Artifact] = {}
        self._failed: dict[tuple[str, str], tuple[str, float]] = {}
        self._task: asyncio.Task[None] | None = None
        self.busy_with = ""

    def artifact(self, model: ModelSpec) -> Artifact | None:
        """The model's prepared weights, if they are there."""
        name = (model.key, model.digest)
        if name not in self._known:
            found = self._find(model)
            if found is None:
                return None
            self._known[name] = found
        return self._known[name]

    def fault(self, model: ModelSpec) -> str:
        """Why the model could not be prepared; empty when it could, or was not tried."""
        return self._failed.get((model.key, model.digest), ("", 0.0))[0]

    def want(self, models: Sequence[ModelSpec]) -> None:
        """Prepare the first of these that is not prepared."""
        if self._task is not None:
            return
        for model in models:
            failed = self._failed.get((model.key, model.digest))
            if self.artifact(model) is None and (failed is None or time.monotonic() - failed[1] > RETRY_S):
                self.busy_with = model.key
                self._task = asyncio.get_running_loop().create_task(self._prepare(model))
                return

    async def close(self) -> None:
        """End a preparation that is going on."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _prepare(self, model: ModelSpec) -> None:
        start = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            *self._argv,
            model.key,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            preexec_fn=lambda: os.nice(_NICE),
        )
        try:
            _, said = await process.communicate()
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise
        finally:
            self._task = None
            self.busy_with = ""
        name = (model.key, model.digest)
        if process.returncode == 0 and self.artifact(model) is not None:
            self._failed.pop(name, None)
            telemetry.logger().info("model.prepared", model=model.key, seconds=round(time.monotonic() - start, 2))
        else:
            lines = said.decode(errors="replace").strip().splitlines() or [f"ended with status {process.returncode}"]
            self._failed[name] = (f"its weights could not be prepared: {lines[-1][:500]}", time.monotonic())
            telemetry.logger().error("model.not_prepared", model=model.key, reason=lines[-1][:500])
        self._changed()
