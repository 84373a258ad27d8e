"""Films of a foreign server: a job there is one answer here, and is taken away however it ends."""

import asyncio
import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace.gateway import film_server
from headrace.state.table import Ability
from tests.gateway.stub import whole
from tests.gateway.world import KEY, World, model, post, replica, run, until, world

PATH = "/v1/videos/generations"
ASK = {"model": "m", "prompt": "a red circle", "seconds": 2, "size": "128x128"}
MP4 = b"\0\0\0\x20ftypisom" + bytes(64)
Says = Callable[[int], tuple[int, bytes]]


class Films:
    """A server of one job. `says` tells status and body of the nth time that it is asked after; `asked` is all it heard."""

    def __init__(self, socket: Path, says: Says, created: tuple[int, bytes], content: bytes = MP4) -> None:
        self.socket, self.asked = socket, list[tuple[str, Any]]()
        self._says, self._created, self._content, self._polls = says, created, content, 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            line, length = head.split(" HTTP")[0], head.lower().partition("content-length: ")[2].partition("\r")[0]
            body = json.loads(await reader.readexactly(int(length))) if length else None
            self.asked.append((line, body))
            writer.write(whole(*self._answer(line)[::-1]))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def _answer(self, line: str) -> tuple[int, bytes]:
        if line.startswith("POST"):
            return self._created
        if line.startswith("DELETE"):
            return 200, b"{}"
        if line.endswith("/content"):
            return 200, self._content
        self._polls += 1
        return self._says(self._polls)

    @property
    def deleted(self) -> bool:
        return ("DELETE /v1/videos/video_1", None) in self.asked


def job(status: str) -> bytes:
    return json.dumps({"id": "video_1", "object": "video", "status": status, "progress": 5}).encode()


def of_one(tmp_path: Path, says: Says, check, created: tuple[int, bytes] = (200, job("queued")), **more: Any) -> None:
    async def work() -> None:
        films = Films(tmp_path / "up", says, created, **more)
        server = await asyncio.start_unix_server(films.serve, films.socket)
        one = model(task="video", ability=Ability(dialect="openai", stream=False))
        async with server, world(tmp_path, [replica(1, films)], models=[one]) as here:  # type: ignore[arg-type]
            await check(here, films)

    run(work)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(film_server, "POLL_S", (0.001, 0.002))


def test_a_job_is_one_answer(tmp_path: Path):
    """Created as OpenAI has it, asked after until it is over, fetched, deleted; metered by its length."""

    async def check(here: World, films: Films) -> None:
        got = await here.ask(ASK, PATH)
        assert got.status == 200, got.body
        assert base64.b64decode(got.json["data"][0]["b64_json"]) == MP4
        assert films.asked[0] == (
            "POST /v1/videos",
            {"model": "up", "prompt": "a red circle", "seconds": "2", "size": "128x128"},
        )
        assert [line for line, _ in films.asked[1:5]] == ["GET /v1/videos/video_1"] * 3 + [
            "GET /v1/videos/video_1/content"
        ]
        assert (await here.usage()).items == 2_000
        await until(lambda: films.deleted)

    of_one(tmp_path, lambda nth: (200, job("completed" if nth == 3 else "in_progress")), check)


def test_a_job_that_failed_is_refused_and_not_tried_again(tmp_path: Path):
    """It would cost again."""

    async def check(here: World, films: Films) -> None:
        got = await here.ask(ASK, PATH)
        assert (got.status, got.json["error"]["code"]) == (400, "invalid_value")
        assert "could not make the video" in got.json["error"]["message"]
        assert sum(line.startswith("POST") for line, _ in films.asked) == 1
        await until(lambda: films.deleted)

    of_one(tmp_path, lambda _: (200, job("failed")), check)


def test_who_leaves_ends_the_job(tmp_path: Path):
    """There, too."""

    async def check(here: World, films: Films) -> None:
        line = await here.line()
        line.send(post(ASK, PATH, KEY))
        await until(lambda: len(films.asked) > 2)
        line.close()
        await until(lambda: films.deleted)
        assert (await here.usage()).outcome == "cancelled"

    of_one(tmp_path, lambda _: (200, job("in_progress")), check)


def test_a_fault_now_and_then_does_not_lose_a_film(tmp_path: Path):
    """Two in a row do not; the third is the end."""

    async def check(here: World, _: Films) -> None:
        assert (await here.ask(ASK, PATH)).status == 200

    of_one(tmp_path, lambda nth: (200, job("completed")) if nth == 3 else (502, b""), check)


@pytest.mark.parametrize(
    ("says", "more"),
    [
        (lambda _: (503, b""), {}),
        (lambda _: (200, b"<html>"), {}),
        (lambda _: (200, job("completed")), {"content": b"<html>"}),
        (lambda _: (200, job("completed")), {"created": (200, b'{"id":"../models","status":"queued"}')}),
        (lambda _: (200, job("completed")), {"created": (500, b"{}")}),
    ],
    ids=["it is lost", "nonsense", "no film", "an id that is a path", "it refuses"],
)
def test_a_server_that_cannot_is_at_fault(tmp_path: Path, says: Says, more: dict[str, Any]):
    """And what it sent reaches nobody."""

    async def check(here: World, _: Films) -> None:
        got = await here.ask(ASK, PATH)
        assert (got.status, got.json["error"]["code"]) == (502, "upstream_failed")
        assert (await here.usage()).charge_nanousd == 0

    of_one(tmp_path, says, check, **more)
