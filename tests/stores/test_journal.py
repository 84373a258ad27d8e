"""The journal: what was acknowledged is there, whatever happens to the process or the disk."""

import asyncio
import errno
import os
import random
import resource
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from headrace.state.usage import Entry
from headrace.stores import journal_reader
from headrace.stores.journal import FileJournal
from tests.stores.entries import begun, usage


def everything(folder: Path) -> list[Entry]:
    """All entries of a folder's journals, read in small pieces as the bookkeeper does."""
    found: list[Entry] = []
    for path in journal_reader.files(folder):
        position = 0
        while (piece := journal_reader.read(path, position)).position > position:
            found += piece.entries
            position = piece.position
        assert not piece.damaged, path
    return found


def committing(journal: FileJournal, entry: Entry) -> "asyncio.Future[bool]":
    answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    journal.append(entry, answer.set_result)
    return answer


def run(folder: Path, body: Callable[[FileJournal], Awaitable[None]], **more: Any) -> None:
    async def inside() -> None:
        journal = FileJournal(folder, "e", **more)
        await body(journal)
        await journal.close()

    asyncio.run(inside())


def test_entries_are_on_disk_in_order_when_they_are_committed(tmp_path):
    """Read by another descriptor at that moment, without a close."""

    async def body(journal: FileJournal) -> None:
        entries = [begun("one"), usage("one"), begun("two")]
        journal.append(entries[0])
        journal.append(entries[1])
        assert await committing(journal, entries[2])
        assert everything(tmp_path) == entries

    run(tmp_path, body)


def test_a_close_commits_what_is_pending(tmp_path):
    """Nothing that was appended is lost by an orderly end; what comes later is refused."""
    answers: list[bool] = []

    async def body(journal: FileJournal) -> None:
        for number in range(500):
            journal.append(usage(f"r{number}"), answers.append)
        await journal.close()
        assert await committing(journal, usage("late")) is False

    run(tmp_path, body)
    assert answers == [True] * 500
    assert [entry.request for entry in everything(tmp_path)] == [f"r{number}" for number in range(500)]


def test_a_full_segment_is_followed_by_another(tmp_path):
    """In the order of writing, also beyond ten."""
    names = [f"r{number:03}" for number in range(60)]

    async def body(journal: FileJournal) -> None:
        for name in names:
            assert await committing(journal, usage(name))

    run(tmp_path, body, segment_bytes_max=600)
    assert len(journal_reader.files(tmp_path)) > 10
    assert [entry.request for entry in everything(tmp_path)] == names


def test_the_lock_lives_as_long_as_the_owner(tmp_path):
    """Over all segments; given up by `close`."""

    def alive() -> dict[str, bool]:
        return {path.name: journal_reader.owner_alive(path) for path in journal_reader.files(tmp_path)}

    async def body(journal: FileJournal) -> None:
        for number in range(10):
            assert await committing(journal, usage(f"r{number}"))
        assert alive() == {f"e{part}.log": True for part in ("", ".1", ".2", ".3")}

    run(tmp_path, body, segment_bytes_max=300)
    assert set(alive().values()) == {False}
    assert journal_reader.owner_alive(tmp_path / "never.log") is False


def test_a_journal_is_never_seen_without_its_lock(tmp_path, monkeypatch):
    """It is locked before it gets its name, else a reader would settle and delete it as a dead one's."""
    real, seen = Path.rename, []

    def rename(path: Path, target: Path) -> Path:
        seen.append((path.suffix, journal_reader.files(tmp_path)))
        done = real(path, target)
        seen.append((target.suffix, journal_reader.owner_alive(target)))
        return done

    monkeypatch.setattr(Path, "rename", rename)

    async def body(journal: FileJournal) -> None:
        assert await committing(journal, usage("one"))

    run(tmp_path, body)
    assert seen == [(".new", []), (".log", True)]


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("written", [0, 20, 100_000])
def test_a_group_that_cannot_be_written_is_refused_and_the_next_one_is_not(tmp_path, monkeypatch, error, written):
    """Nothing, a part, or all of it may have reached the file: it is cut back, left, and never written over."""
    real, failing = os.write, [False]

    def write(file: int, data: bytes) -> int:
        if failing[0]:
            if written:
                real(file, bytes(data)[:written])
            raise OSError(error, os.strerror(error))
        return real(file, data)

    monkeypatch.setattr(os, "write", write)

    async def body(journal: FileJournal) -> None:
        assert await committing(journal, usage("before"))
        failing[0] = True
        for number in range(3):
            assert not await committing(journal, usage(f"refused{number}"))
        failing[0] = False
        assert await committing(journal, usage("after"))
        assert [entry.request for entry in everything(tmp_path)] == ["before", "after"]

    run(tmp_path, body)
    files = journal_reader.files(tmp_path)
    assert len(files) == (1 if not written else 4)
    assert sum(1 for file in files if file.stat().st_size) == (1 if not written else 2)


FULL = """
import asyncio, resource, sys
from pathlib import Path
from headrace.stores.journal import FileJournal
from tests.stores.entries import usage
async def main():
    journal = FileJournal(Path(sys.argv[1]), "e")
    async def add(name):
        answer = asyncio.get_running_loop().create_future()
        journal.append(usage(name), answer.set_result)
        print(name, await answer, flush=True)
    await add("before")
    for size in (1000, 900, 300):  # of any file: the kernel refuses more, as a full disk does
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        for number in range(8):
            await add(f"r{size}-{number}")
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await add("after")
    await journal.close()
asyncio.run(main())
"""


def test_a_disk_without_room_refuses_and_heals_by_itself(tmp_path):
    """Real partial writes: exactly what was acknowledged is read back, and the end is acknowledged again."""
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    said = dict(line.split() for line in done.stdout.splitlines())
    assert (said["before"], said["after"]) == ("True", "True")
    assert "False" in said.values()
    assert [entry.request for entry in everything(tmp_path)] == [name for name, ok in said.items() if ok == "True"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_really_full_disk_refuses_and_heals_when_there_is_room(tmp_path):
    """A file system of 256 KiB, filled by somebody else, then freed."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        answers: dict[str, bool] = {}

        async def body(journal: FileJournal) -> None:
            async def add(name: str) -> None:
                answers[name] = await committing(journal, usage(name, why="x" * 1_000))

            await add("before")
            ballast = disk / "ballast"
            with ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
                while file.write(bytes(4_096)):
                    pass
            for number in range(20):
                await add(f"full{number}")
            ballast.unlink()
            await add("after")

        run(disk, body)
        assert (answers["before"], answers["after"]) == (True, True)
        assert False in answers.values()
        assert [entry.request for entry in everything(disk)] == [name for name, ok in answers.items() if ok]
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


WRITER = """
import asyncio, os, sys
from pathlib import Path
from headrace.stores.journal import FileJournal
from tests.stores.entries import begun, usage
async def main():
    journal = FileJournal(Path(sys.argv[1]), sys.argv[2], segment_bytes_max=20_000)
    loop, at_once = asyncio.get_running_loop(), asyncio.Semaphore(32)
    async def one(number):
        async with at_once:
            name, answer = f"{sys.argv[2]}-{number}", loop.create_future()
            journal.append(begun(name, epoch=sys.argv[2]))
            journal.append(usage(name, epoch=sys.argv[2]), answer.set_result)
            if await answer:
                os.write(1, (name + "\\n").encode())  # the acknowledgement: the client has it
    await asyncio.gather(*(one(number) for number in range(20_000)))
    await journal.close()
asyncio.run(main())
"""


def test_no_kill_loses_or_doubles_an_acknowledged_entry(tmp_path):
    """Eight writers killed at random moments, read while they write: each acknowledged entry is there exactly once."""
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    acknowledged: list[str] = []
    for number in range(8):
        argv = [sys.executable, "-c", WRITER, str(tmp_path), f"{number:02}"]
        path = tmp_path / f"{number:02}.log"
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            for _ in range(chance.randrange(1, 3_000)):
                acknowledged.append(writer.stdout.readline().strip())
            everything(tmp_path)  # beside the writer: never damaged, whatever is half written
            assert journal_reader.owner_alive(path), seed
            writer.send_signal(signal.SIGKILL)
            acknowledged += writer.stdout.read().split()
        assert not journal_reader.owner_alive(path), seed
    entries = everything(tmp_path)
    ended = Counter(entry.request for entry in entries if entry == usage(entry.request, epoch=entry.request[:2]))
    assert [name for name in acknowledged if ended[name] != 1] == [], seed
    assert max(ended.values()) == 1, seed
    owed = [row.request for row in journal_reader.settle_dead(entries, ended_us=9_000)]
    assert not set(owed) & set(acknowledged), seed
    assert len(set(owed)) == len(owed), seed


def test_the_limit_of_this_test_process_is_untouched():
    """The tests above bound files in processes of their own."""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
