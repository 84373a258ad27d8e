"""Preparation in real processes: one at a time, retried later, and never outliving the controller."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from headrace.control.prepare import RETRY_LAST_US, RETRY_US, Preparer
from headrace.ports import Artifact
from headrace.specs.catalog import ModelSpec
from tests.control.sim import SimClock, model
from tests.substrates.programs import alive, until

pytestmark = pytest.mark.anyio


MAKES = "import pathlib, sys; pathlib.Path(sys.argv[1], sys.argv[2]).touch()"


class Bench:
    """A preparer whose process is `code`, called with a folder and the model's key."""

    def __init__(self, folder: Path, code: str) -> None:
        self.folder = folder
        self.clock = SimClock()
        self.changed = asyncio.Event()
        self.told: list[tuple[str, str, str]] = []
        argv = (sys.executable, "-c", code, str(folder))
        self.preparer = Preparer(self.find, argv, lambda *told: self.told.append(told), self.clock, self.changed.set)

    def find(self, wanted: ModelSpec) -> Artifact | None:
        made = (self.folder / wanted.key).exists()
        return Artifact(digest="d", path="p", files={}, memory_bytes=1) if made else None

    async def once(self, *models: ModelSpec, ahead: tuple[ModelSpec, ...] = ()) -> None:
        self.changed.clear()
        self.preparer.want(models, ahead)
        assert self.preparer.busy_with
        async with asyncio.timeout(20):
            await self.changed.wait()


async def test_models_are_prepared_one_after_the_other(tmp_path):
    """Wanting again while one is at work changes nothing; the next call takes the next model."""
    bench = Bench(tmp_path, MAKES)
    a, b = model("a"), model("b")
    await bench.once(a, b)
    assert [bench.preparer.artifact(m) is not None for m in (a, b)] == [True, False]
    await bench.once(a, b)
    assert bench.preparer.artifact(b) is not None


async def test_a_failure_is_told_by_its_last_line_and_tried_again_later(tmp_path):
    """Not before a minute has passed; progress without line ends is no trouble."""
    code = "import sys; sys.stderr.write('10 %\\r20 %\\r'); sys.exit('the hub cannot be reached')"
    bench = Bench(tmp_path, code)
    await bench.once(model())
    assert bench.preparer.fault(model()) == "its weights could not be prepared: the hub cannot be reached"
    bench.preparer.want([model()])
    assert bench.preparer.busy_with == ""
    bench.clock.us += RETRY_US
    await bench.once(model())


FAILS = "import pathlib, sys; sys.exit(pathlib.Path(sys.argv[1], 'why').read_text())"


async def test_each_failure_doubles_the_wait_and_one_reason_is_told_once(tmp_path):
    """A minute, two, four, and no more than sixteen; another reason is told, and so is the end of it."""
    (tmp_path / "why").write_text("it is broken")
    bench = Bench(tmp_path, FAILS)
    for wait_us in [RETRY_US, 2 * RETRY_US, 4 * RETRY_US, 8 * RETRY_US, RETRY_LAST_US, RETRY_LAST_US]:
        await bench.once(model())
        bench.clock.us += wait_us - 1
        bench.preparer.want([model()])
        assert bench.preparer.busy_with == ""
        bench.clock.us += 1
    broken = ("model.unprepared", "m@v1", "its weights could not be prepared: it is broken")
    assert bench.told == [broken]
    (tmp_path / "why").write_text("another reason")
    await bench.once(model())
    assert bench.told == [broken, ("model.unprepared", "m@v1", "its weights could not be prepared: another reason")]
    bench.clock.us += RETRY_LAST_US
    bench.preparer._argv = (sys.executable, "-c", MAKES, str(tmp_path))
    await bench.once(model())
    assert bench.told[2:] == [("model.prepared", "m@v1", "its weights are prepared now")]
    assert bench.preparer.fault(model()) == ""


async def test_what_is_not_wanted_yet_is_tried_once(tmp_path):
    """After it failed nothing is done for it, until it is wanted, or deployed anew."""
    (tmp_path / "why").write_text("it is broken")
    bench = Bench(tmp_path, FAILS)
    await bench.once(ahead=(model(),))
    bench.clock.us += 100 * RETRY_LAST_US
    bench.preparer.want([], [model()])
    assert bench.preparer.busy_with == ""
    await bench.once(model())
    bench.preparer.anew(model())
    assert bench.preparer.fault(model()) == ""
    await bench.once(model())


async def test_a_program_that_is_not_there_is_a_fault(tmp_path):
    """And not the end of the controller."""
    bench = Bench(tmp_path, "")
    bench.preparer._argv = ("/nowhere/python",)
    await bench.once(model())
    assert "could not be started" in bench.preparer.fault(model())


async def test_forgotten_artifacts_are_looked_for_again(tmp_path):
    """Weights that an operator deleted are prepared again, not started from."""
    bench = Bench(tmp_path, "")
    (tmp_path / "m@v1").touch()
    assert bench.preparer.artifact(model()) is not None
    (tmp_path / "m@v1").unlink()
    bench.preparer.forget("m@v1")
    assert bench.preparer.artifact(model()) is None


async def test_close_ends_what_is_at_work(tmp_path):
    """Its process is gone when close returns."""
    bench = Bench(
        tmp_path, "import os, pathlib, sys, time; pathlib.Path(sys.argv[1], str(os.getpid())).touch(); time.sleep(99)"
    )
    bench.preparer.want([model()])
    (made,) = await until(lambda: list(tmp_path.iterdir()))
    await bench.preparer.close()
    assert not alive(int(made.name))


async def test_a_killed_controller_takes_its_preparation_along(tmp_path):
    """SIGKILL of the parent is SIGKILL of the child: the next controller begins it again, alone."""
    child = "import os, pathlib, sys, time; pathlib.Path(sys.argv[1], str(os.getpid())).touch(); time.sleep(99)"
    program = f"""
        import asyncio, sys
        from headrace.control.prepare import Preparer
        from tests.control.sim import SimClock, model

        async def main():
            Preparer(lambda m: None, (sys.executable, "-c", {child!r}, {str(tmp_path)!r}), print, SimClock(), print).want([model()])
            await asyncio.sleep(99)

        asyncio.run(main())
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], cwd=Path(__file__).parents[2])
    (made,) = await until(lambda: list(tmp_path.iterdir()))
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    await until(lambda: not alive(int(made.name)))
