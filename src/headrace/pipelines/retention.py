"""How long runs are kept: as long after their end as the cloud file says of their tenant, with all their results."""

import asyncio
from typing import Final

from headrace import telemetry
from headrace.errors import HeadraceError, Invalid
from headrace.pipelines.runner import Runner

SWEEP_S: Final = 60.0


async def tidy(runner: Runner) -> None:
    """Before anything begins: let go of the files of runs that a killed runner did not come to begin."""
    try:
        for name in runner.world.runs.unbegun():
            await runner.world.runs.forget(name)
    except HeadraceError as error:
        telemetry.logger().warning("runs.not_swept", error=str(error))


async def keep_swept(runner: Runner) -> None:
    """Sweep now and then, for ever."""
    while True:
        try:
            await sweep(runner)
        except HeadraceError as error:
            telemetry.logger().warning("runs.not_swept", error=str(error))
        await asyncio.sleep(SWEEP_S)


async def sweep(runner: Runner) -> int:
    """Forget what was kept long enough, and take away the objects that no run has any more; how many runs."""
    runs, now_us, gone = runner.world.runs, runner.world.clock.now_us(), 0
    storage = runner.world.objects.storage
    if storage is None:
        return 0
    for tenant in runs.tenants():
        for run in runs.over(tenant, now_us - storage.terms.of(tenant).keep_runs_us):
            try:
                await runner.forget(run)
                gone += 1
            except Invalid:
                continue  # it was begun again just now
    await runner.world.objects.sweep()
    return gone
