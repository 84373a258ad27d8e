"""Videos through a real gateway: made behind, kept, priced, called off; what cannot be made is refused at once."""

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from headrace.jobs import video_work
from headrace.state.table import Ability, Media
from tests.gateway import stub
from tests.gateway.stub import Question, StubUpstream
from tests.gateway.world import KEY, UNITS, World, model, replica, run, until, world
from tests.jobs.world import Hand, client, jobs, runner

# OpenAI ends its own service, so its client warns; what it speaks stays the shape that tools know.
pytestmark = pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")
FILM = b"\0\0\0\x20ftypisom" + bytes(range(256)) * 2_000  # larger than what a gateway keeps for a repetition
OURS = Ability(dialect="headrace", media=Media(sizes=("128x128", "256x144"), video_s_max=8))
MODELS = {"models": [model(task="video", ability=OURS)]}
ASKED: dict[str, Any] = {"model": "m", "prompt": "a red ball", "seconds": "4", "size": "256x144"}


async def films(question: Question, writer: asyncio.StreamWriter) -> None:
    """Makes one at once."""
    made = {"created": 1, "data": [{"b64_json": base64.b64encode(FILM).decode()}]}
    writer.write(stub.whole(json.dumps(made).encode()))


async def ended(asked: openai.AsyncOpenAI, name: str) -> Any:
    while (video := await asked.videos.retrieve(name)).status not in ("completed", "failed"):
        await asyncio.sleep(0.01)
    return video


def made(up: StubUpstream) -> int:
    """How many films were asked for; a quote counts words there, too."""
    return sum(question.target == video_work.PATH for question in up.asked)


def stored(folder: Path) -> list[Path]:
    return list((folder / "objects-videos").iterdir())


def test_a_video_is_made_behind_kept_priced_and_taken_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """With the official client, as JSON and as a form."""
    clock = Hand()
    monkeypatch.setitem(UNITS, "video_ms", 20_000)

    async def check(asked: openai.AsyncOpenAI, here: World, up: StubUpstream) -> None:
        video = await asked.videos.create(**ASKED, extra_body={"seed": 7})
        assert (video.object, video.status, video.progress) == ("video", "queued", 0)
        video = await ended(asked, video.id)
        assert (video.status, video.progress, video.seconds, video.size) == ("completed", 100, "4", "256x144")
        assert video.completed_at >= video.created_at
        content = await asked.videos.download_content(video.id)
        assert (await content.aread(), content.response.headers["content-type"]) == (FILM, "video/mp4")
        (usage,) = here.usages()
        assert (usage.label, usage.outcome) == (f"{video.id}/1", "finished")
        assert round(float(video.model_extra["headrace"]["cost"]) * 1e9) == usage.charge_nanousd == 4_000 * 20
        assert up.asked[-1].body == {"model": "up", "prompt": "a red ball", "seconds": 4, "size": "256x144", "seed": 7}
        headers = {"Authorization": f"Bearer {KEY}"}
        async with httpx.AsyncClient() as http:  # as a form
            fields = {name: (None, value) for name, value in ASKED.items() if name != "size"}
            form = await http.post(f"http://127.0.0.1:{here.port}/v1/videos", files=fields, headers=headers)
        other = await ended(asked, form.json()["id"])
        assert (other.status, other.size) == ("completed", "auto")
        assert [one.id async for one in asked.videos.list(limit=1)] == [other.id, video.id]
        assert len(stored(tmp_path)) == 1  # the same film
        assert (await asked.videos.delete(video.id)).deleted
        assert len(stored(tmp_path)) == 1
        await asked.videos.delete(other.id)
        assert stored(tmp_path) == []
        with pytest.raises(openai.NotFoundError):
            await asked.videos.retrieve(video.id)
        assert [file.id async for file in asked.files.list()] == []

    jobs(tmp_path, films, check, clock, **MODELS)


def test_what_cannot_be_made_is_refused_at_once_by_name(tmp_path: Path):
    """By us, or by the gateway in its words; nothing is asked of an engine."""

    async def check(asked: openai.AsyncOpenAI, here: World, up: StubUpstream) -> None:
        for changes, param in (
            ({"size": "64x64"}, "size"), ({"seconds": "9"}, "seconds"), ({"seconds": "soon"}, "seconds"),
            ({"prompt": ""}, "prompt"), ({"size": "wide"}, "size"), ({"prompt": "x" * 33_000}, "prompt"),
        ):  # fmt: skip
            with pytest.raises(openai.BadRequestError) as told:
                await asked.videos.create(**{**ASKED, **changes})
            assert told.value.param == param, changes
        with pytest.raises(openai.NotFoundError) as missing:
            await asked.videos.create(**{**ASKED, "model": "sora"})
        assert missing.value.code == "model_not_found"
        with pytest.raises(openai.BadRequestError) as given:
            await asked.videos.create(**ASKED, input_reference=("a.png", b"png"))
        assert given.value.param == "input_reference"
        assert (up.asked, [video async for video in asked.videos.list()]) == ([], [])

    jobs(tmp_path, films, check, **MODELS)


def test_one_that_is_taken_away_while_it_is_made_is_called_off(tmp_path: Path):
    """The engine's connection closes, so it makes no more of it."""

    async def check(asked: openai.AsyncOpenAI, here: World, up: StubUpstream) -> None:
        video = await asked.videos.create(**ASKED)
        await until(lambda: made(up))
        assert (await asked.videos.retrieve(video.id)).status == "in_progress"
        with pytest.raises(openai.ConflictError):
            await asked.videos.download_content(video.id)
        await asked.videos.delete(video.id)
        await asyncio.wait_for(up.gone.wait(), 5)
        assert stored(tmp_path) == []

    jobs(tmp_path, stub.silent, check, **MODELS)


def test_what_the_engine_breaks_is_tried_again_and_then_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(video_work, "WAIT_S", 0.01)

    async def broken(question: Question, writer: asyncio.StreamWriter) -> None:
        writer.write(stub.whole(b'{"error": {"message": "a secret of the engine"}}', 500))

    async def check(asked: openai.AsyncOpenAI, here: World, up: StubUpstream) -> None:
        video = await ended(asked, (await asked.videos.create(**ASKED)).id)
        assert video.status == "failed"
        assert (video.error.code, "secret" in video.error.message) == ("upstream_failed", False)
        assert made(up) >= video_work.TRIES_MAX

    jobs(tmp_path, broken, check, **MODELS)


def test_a_runner_that_ends_in_the_middle_makes_it_after_all(tmp_path: Path):
    """What was called off is asked again; the next one knows how long the last one took."""
    clock, go = Hand(), asyncio.Event()

    async def slowly(question: Question, writer: asyncio.StreamWriter) -> None:
        await go.wait()
        await films(question, writer)

    async def work() -> None:
        async with (
            StubUpstream(tmp_path / "up", slowly) as up, world(tmp_path, [replica(0, up)], **MODELS) as here,
            client(here) as asked,
        ):  # fmt: skip
            async with runner(here, clock):
                video = await asked.videos.create(**ASKED)
                await until(lambda: made(up))
            await asyncio.wait_for(up.gone.wait(), 5)
            async with runner(here, clock):
                await until(lambda: made(up) == 2)
                clock.ahead_s = 100
                go.set()
                assert (await ended(asked, video.id)).status == "completed"
                go.clear()
                other = await asked.videos.create(**ASKED)
                await until(lambda: made(up) == 3)
                clock.ahead_s = 150
                assert 45 <= (await asked.videos.retrieve(other.id)).progress <= 55
                clock.ahead_s = 900
                assert (await asked.videos.retrieve(other.id)).progress == 99
                go.set()
                assert (await ended(asked, other.id)).progress == 100

    run(work)
