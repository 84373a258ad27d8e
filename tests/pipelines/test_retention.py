"""How long runs are kept: as long as their tenant's cloud file says, with what they made, and not a moment longer."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace.errors import Invalid
from headrace.pipelines import retention
from headrace.pipelines.context import World
from headrace.pipelines.runner import Runner, Wanted
from headrace.pipelines.shelf import Shelf
from headrace.pipelines.web import OpenWeb
from headrace.serving.storage import Storage, Terms
from headrace.state.table import RouteTenant, Table
from headrace.stores.objects import FileObjects
from headrace.stores.runs import SqliteRuns
from tests.pipelines.world import Hand, Model

DAY_US = 86_400_000_000
LARGE = """
name: p
input: {w: x}
steps: {a: {each: "{{ range(20) }}", value: "{{ w }}{{ index }}"}, b: {chat: m, prompt: hi}}
output: "{{ b }}"
"""


def made(folder: Path, **tenant: int) -> tuple[Runner, SqliteRuns, Hand]:
    table = Table(revision=1, models=(), replicas=(), keys=(), tenants=(RouteTenant(name="t", **tenant),))
    (folder / "table.json").write_bytes(msgspec.json.encode(table))
    runs, clock = SqliteRuns(folder / "runs.db"), Hand()
    shelf = Shelf(FileObjects(folder / "objects"), runs, Storage(Terms(folder / "table.json"), [runs.kept]))
    return Runner(World(models=Model(), runs=runs, objects=shelf, clock=clock, web=OpenWeb()), folder), runs, clock


def objects(folder: Path) -> int:
    return len(list((folder / "objects").iterdir()))


async def ended(runner: Runner, tenant: str = "t", **inputs: Any) -> str:
    run = await runner.start(tenant, "k", Wanted(text=LARGE, inputs=inputs))
    state = await runner.ended(run)
    assert state.phase == "finished", state.ended
    return run


LATE = LARGE.replace("prompt: hi", "prompt: '{{ a | length }}'")
LONG = "large " * 12_000  # more than is kept in the journal itself


def test_a_run_and_its_objects_go_when_its_time_is_over(tmp_path: Path):
    """Of a tenant that the cloud file does not name, after the 30 days that hold where nothing is said."""
    runner, runs, clock = made(tmp_path, keep_runs_us=DAY_US)

    async def life() -> None:
        one, other = await ended(runner, w=LONG), await ended(runner, "u")
        assert (objects(tmp_path), runs.kept()[("t", "run")] > 20 * len(LONG)) == (20, True)
        clock.at += DAY_US
        assert await retention.sweep(runner) == 0
        clock.at += 1
        assert await retention.sweep(runner) == 1
        assert (objects(tmp_path), runs.kept(), runs.events(one)) == (0, {}, [])
        clock.at += 29 * DAY_US
        assert await retention.sweep(runner) == 1
        assert runs.events(other) == []

    asyncio.run(life())
    runs.close()


def test_a_run_that_is_begun_again_is_kept_from_its_new_end_on(tmp_path: Path):
    runner, runs, clock = made(tmp_path, keep_runs_us=DAY_US)

    async def life() -> None:
        run = await ended(runner)
        clock.at += DAY_US
        await runner.retry(run, step="", cost=None, time_us=None)
        with pytest.raises(Invalid, match="cancel it first"):
            await runner.forget(run)
        await runner.ended(run)
        clock.at += DAY_US
        assert await retention.sweep(runner) == 0
        await runner.forget(run)
        with pytest.raises(Invalid, match="there is no run"):
            runner.state(run)

    asyncio.run(life())
    runs.close()


def test_a_tenant_that_keeps_too_much_begins_nothing_new_and_goes_on_when_there_is_room(tmp_path: Path):
    """What is made of what was paid for is kept all the same; a run at work fails before its next call, and not after."""
    runner, runs, _ = made(tmp_path, storage_bytes=1_000_000)

    async def life() -> None:
        full = await runner.ended(await runner.start("t", "k", Wanted(text=LATE, inputs={"w": LONG})))
        assert full.ended is not None
        assert (full.phase, full.ended.step) == ("failed", "b")
        for word in ("of its 1000000", "headrace pipeline delete", "headrace pipeline retry"):
            assert word in f"{full.ended.error} {full.ended.fix}"
        with pytest.raises(Invalid, match="nothing more fits") as refused:
            await runner.start("t", "k", Wanted(text=LARGE))
        assert refused.value.code == "storage_limit_exceeded"
        await ended(runner, "u")
        await runner.forget(full.started.run)
        await ended(runner)

    asyncio.run(life())
    runs.close()
