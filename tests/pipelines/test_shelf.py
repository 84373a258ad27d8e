"""Objects of runs: there as long as a run has them, whatever comes and goes at the same moment."""

import asyncio
import hashlib
from pathlib import Path

import pytest

from headrace.pipelines.shelf import Shelf
from headrace.stores.objects import FileObjects
from headrace.stores.runs import SqliteRuns


class Slow(FileObjects):
    """Takes its time over deletions."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.deleting, self.go = asyncio.Event(), asyncio.Event()

    async def delete(self, digest: str) -> None:
        self.deleting.set()
        await self.go.wait()
        await super().delete(digest)


def there(folder: Path) -> list[bytes]:
    return sorted(path.read_bytes() for path in (folder / "objects").iterdir())


async def end(runs: SqliteRuns, run: str) -> None:
    await runs.mark(run, True, 1)
    assert await runs.forget(run)


def test_an_object_goes_with_the_last_run_that_has_it(tmp_path: Path):
    runs = SqliteRuns(tmp_path / "runs.db")
    shelf = Shelf(FileObjects(tmp_path / "objects"), runs)

    async def life() -> None:
        for run in ("run_1", "run_2"):
            await runs.begin(run, b"{}", "t")
        digest = await shelf.of("t", "run_1").put(b"shared")
        await shelf.of("t", "run_1").put(b"alone")
        await shelf.of("t", "run_2").hold([(digest, 6)])
        assert runs.kept() == {("t", "run"): 17}
        await end(runs, "run_1")
        await shelf.sweep()
        assert there(tmp_path) == [b"shared"]
        assert await shelf.of("t", "run_2").get(digest) == b"shared"
        await end(runs, "run_2")
        await asyncio.gather(shelf.sweep(), shelf.sweep())
        assert (there(tmp_path), runs.loose(), runs.kept()) == ([], [], {})

    asyncio.run(life())
    runs.close()


def test_a_runner_that_died_before_it_swept_leaves_that_to_the_next(tmp_path: Path):
    """And one that died between the row and the object leaves a row that its run's end takes away."""
    runs = SqliteRuns(tmp_path / "runs.db")

    async def first() -> None:
        await runs.begin("run_1", b"{}", "t")
        await Shelf(FileObjects(tmp_path / "objects"), runs).of("t", "run_1").put(b"data")
        await runs.hold("t", "run_1", [(hashlib.sha256(b"never put").hexdigest(), 9)])
        await end(runs, "run_1")

    asyncio.run(first())
    assert there(tmp_path) == [b"data"]
    runs.close()
    runs = SqliteRuns(tmp_path / "runs.db")
    asyncio.run(Shelf(FileObjects(tmp_path / "objects"), runs).sweep())
    assert (there(tmp_path), runs.loose()) == ([], [])
    runs.close()


@pytest.mark.parametrize("data", [b"the same", b"another"])
def test_what_comes_while_it_goes_is_there_in_the_end(tmp_path: Path, data: bytes):
    """A run that makes the same bytes anew waits for the deletion; nobody else waits."""
    runs = SqliteRuns(tmp_path / "runs.db")

    async def life() -> None:
        slow = Slow(tmp_path / "objects")
        shelf = Shelf(slow, runs)
        for run in ("run_1", "run_2"):
            await runs.begin(run, b"{}", "t")
        await shelf.of("t", "run_1").put(b"the same")
        await end(runs, "run_1")
        sweeping = asyncio.ensure_future(shelf.sweep())
        await slow.deleting.wait()
        coming = asyncio.ensure_future(shelf.of("t", "run_2").put(data))
        if data == b"another":
            await coming
        slow.go.set()
        await asyncio.gather(sweeping, coming)
        assert there(tmp_path) == [data]
        assert runs.held(coming.result())
        await shelf.sweep()
        assert there(tmp_path) == [data]

    asyncio.run(life())
    runs.close()
