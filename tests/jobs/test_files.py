"""Files through a real gateway: forms read strictly, the same bytes kept once, nothing left behind."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import msgspec
import openai
import pytest

from headrace.jobs import file_routes
from headrace.state.table import RouteTenant, Table
from tests.gateway import stub
from tests.gateway.stub import StubUpstream
from tests.gateway.world import KEY, World, get, run, until, world
from tests.jobs.world import Hand, begin, client, jobs, runner


def stored(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in (folder / "objects-files").iterdir()]


def test_the_same_bytes_are_kept_once_and_go_with_their_last_file(tmp_path: Path):
    async def check(asked: openai.AsyncOpenAI, here: World, up: StubUpstream) -> None:
        make = lambda data: asked.files.create(file=("a.txt", data), purpose="user_data")  # noqa: E731
        one, two, three = await asyncio.gather(make(b"same"), make(b"same"), make(b"other"))
        assert sorted(stored(tmp_path)) == [b"other", b"same"]
        await asked.files.delete(one.id)
        await asked.files.delete(three.id)
        assert stored(tmp_path) == [b"same"]
        assert await (await asked.files.content(two.id)).aread() == b"same"
        await asked.files.delete(two.id)
        assert stored(tmp_path) == []
        assert not list((tmp_path / "jobs" / "spool").iterdir())

    jobs(tmp_path, stub.truthful, check)


def test_an_expired_file_is_gone_at_once_and_its_bytes_with_the_next_sweep(tmp_path: Path):
    clock = Hand()

    async def check(asked: openai.AsyncOpenAI, here: World, up: StubUpstream) -> None:
        keep = {"anchor": "created_at", "seconds": 3_600}
        file = await asked.files.create(file=("a.txt", b"x"), purpose="user_data", expires_after=keep)
        clock.ahead_s = 3_601
        with pytest.raises(openai.NotFoundError):
            await asked.files.retrieve(file.id)
        assert (await asked.files.list()).data == []

    async def again() -> None:
        async with world(tmp_path, []) as here, runner(here, clock):
            await until(lambda: stored(tmp_path) == [])

    jobs(tmp_path, stub.truthful, check, clock)
    assert stored(tmp_path) == [b"x"]
    run(again)


def test_a_file_that_there_is_no_room_for_is_refused_and_deletion_makes_room(tmp_path: Path):
    """To the byte, also of many at once; the same bytes twice count twice. A batch is not begun by who is full."""
    limit = 1_000 << 10

    async def check(asked: openai.AsyncOpenAI, here: World, up: StubUpstream) -> None:
        tenant = RouteTenant(name="t", storage_bytes=limit)
        told = msgspec.json.encode(Table(revision=1, models=(), replicas=(), keys=(), tenants=(tenant,)))
        here.worker.settings.table_file.write_bytes(told)
        make = lambda size: asked.files.create(file=("a.jsonl", b"x" * size), purpose="batch")  # noqa: E731
        kept = await asyncio.gather(*(make(300 << 10) for _ in range(5)), return_exceptions=True)
        files = [one for one in kept if not isinstance(one, Exception)]
        assert len(files) == 3
        for refused in (one for one in kept if isinstance(one, openai.BadRequestError)):
            assert refused.code == "storage_limit_exceeded"
            assert f"of its {limit} " in refused.message
        for size, fits in ((limit, False), ((100 << 10) + 1, False), (100 << 10, True), (1, False)):
            if fits:
                await make(size)
                continue
            with pytest.raises(openai.BadRequestError, match="storage"):
                await make(size)
        shown = json.loads((await here.raw(get("/headrace/v1/storage"))).body)["data"]
        assert shown == [{"tenant": "t", "used_bytes": limit, "limit_bytes": limit, "by": {"file": limit}}]
        with pytest.raises(openai.BadRequestError, match="nothing more fits"):
            await begin(asked, b"")
        with pytest.raises(openai.BadRequestError, match="nothing more fits"):
            await asked.batches.create(
                input_file_id=files[0].id, endpoint="/v1/chat/completions", completion_window="24h"
            )
        assert len(stored(tmp_path)) == 2
        await asked.files.delete(files[0].id)
        await make(300 << 10)

    jobs(tmp_path, stub.truthful, check)


def test_what_has_expired_counts_no_more_once_it_is_swept(tmp_path: Path):
    clock = Hand()

    async def check(asked: openai.AsyncOpenAI, here: World, up: StubUpstream) -> None:
        keep = {"anchor": "created_at", "seconds": 3_600}
        await asked.files.create(file=("a.txt", b"x" * 7), purpose="user_data", expires_after=keep)
        await asked.files.create(file=("b.txt", b"y" * 5), purpose="user_data")
        clock.ahead_s = 3_601

    async def again() -> None:
        async with world(tmp_path, []) as here, runner(here, clock):
            used = lambda: json.loads(got.body)["data"][0]["by"]  # noqa: E731
            while True:
                got = await here.raw(get("/headrace/v1/storage"))
                if used() == {"file": 5}:
                    break
                assert used() == {"file": 12}

    jobs(tmp_path, stub.truthful, check, clock)
    run(again)


FORM = "multipart/form-data; boundary=b"


def part(name: str, data: bytes, more: str = "") -> bytes:
    return b'--b\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n' % (name.encode(), more.encode(), data)


FILE = part("file", b"data", '; filename="a.txt"')
PURPOSE = part("purpose", b"batch")
BAD: dict[str, tuple[bytes, str, int, str]] = {
    "not a form": (b"{}", "application/json", 415, "multipart"),
    "no boundary": (b"", "multipart/form-data", 415, "multipart"),
    "cut off": (PURPOSE + FILE, FORM, 400, "malformed"),
    "no file": (PURPOSE + b"--b--\r\n", FORM, 400, "no file"),
    "a file without a name": (PURPOSE + part("file", b"data") + b"--b--\r\n", FORM, 400, "name"),
    "two files": (PURPOSE + FILE + FILE + b"--b--\r\n", FORM, 400, "one file"),
    "another file": (PURPOSE + part("fil", b"x", '; filename="a"') + b"--b--\r\n", FORM, 400, "one file"),
    "no purpose": (FILE + b"--b--\r\n", FORM, 400, "purpose"),
    "a purpose twice": (PURPOSE + PURPOSE + FILE + b"--b--\r\n", FORM, 400, "twice"),
    "not UTF-8": (part("purpose", b"\xff") + FILE + b"--b--\r\n", FORM, 400, "UTF-8"),
    "a strange name": (PURPOSE + part("file", b"x", '; filename="a\tb"') + b"--b--\r\n", FORM, 400, "characters"),
    "half an expiry": (PURPOSE + FILE + part("expires_after[anchor]", b"created_at") + b"--b--\r\n", FORM, 400, "seconds"),
    "too large": (PURPOSE + part("file", b"x" * 5000, '; filename="a"') + b"--b--\r\n", FORM, 413, "limit"),
    "too many parts": (b"".join(part(f"n{n}", b"x") for n in range(40)) + b"--b--\r\n", FORM, 413, "parts"),
    "a large field": (part("note", b"x" * 70_000) + FILE + b"--b--\r\n", FORM, 413, ""),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_form_that_is_off_is_refused_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    """In the shape that clients expect, with the word that helps."""
    monkeypatch.setattr(file_routes, "FILE_BYTES_MAX", 4_096 if name == "too large" else 1 << 20)
    data, content, status, word = BAD[name]

    async def check(asked: openai.AsyncOpenAI, here: World, up: StubUpstream) -> None:
        headers = {"Authorization": f"Bearer {KEY}", "Content-Type": content}
        async with httpx.AsyncClient() as http:
            got = await http.post(f"http://127.0.0.1:{here.port}/v1/files", content=data, headers=headers)
        assert got.status_code == status, got.text
        error: dict[str, Any] = got.json()["error"]
        assert sorted(error) == ["code", "message", "param", "type"]
        assert word in error["message"]
        assert (await asked.files.list()).data == []
        assert stored(tmp_path) == []
        assert not list((tmp_path / "jobs" / "spool").iterdir())

    jobs(tmp_path, stub.truthful, check)


def test_a_path_in_a_name_is_left_out(tmp_path: Path):
    async def check(asked: openai.AsyncOpenAI, here: World, up: StubUpstream) -> None:
        file = await asked.files.create(file=("../../etc/passwd", b"x"), purpose="vision")
        assert file.filename == "passwd"

    jobs(tmp_path, stub.truthful, check)


def test_what_a_killed_runner_left_half_done_is_taken_away(tmp_path: Path):
    """An object whose file was never made, and bytes on their way."""

    async def work() -> None:
        async with world(tmp_path, []) as here, client(here) as asked:
            async with runner(here):
                kept = await asked.files.create(file=("a.txt", b"kept"), purpose="user_data")
            from headrace.jobs.file import File
            from headrace.jobs.files import _record
            from headrace.stores.records import SqliteRecords

            objects, records = tmp_path / "objects-files", SqliteRecords(tmp_path / "jobs.db")
            half = File(id="file-h", tenant="t", purpose="batch", filename="h", bytes=1, digest="d" * 64, created_at=1)
            await records.put(_record("file.leaving", half))
            records.close()
            (objects / half.digest).write_bytes(b"half")
            (tmp_path / "jobs" / "spool" / "file-on-its-way").write_bytes(b"some")
            async with runner(here):
                await until(lambda: stored(tmp_path) == [b"kept"])
                assert not list((tmp_path / "jobs" / "spool").iterdir())
                assert [file.id async for file in asked.files.list()] == [kept.id]

    run(work)
