"""A copy's answer is compared with the one its original got: scores go to the journal, and no word of either."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from headrace.gateway import comparison
from headrace.state.likeness import Likeness
from headrace.state.table import Ability
from tests.gateway.stub import Question, StubUpstream, dying, saying, truthful, whole
from tests.gateway.world import HI, World, model, replica, run, until, world

BOTH = (model(weight=100), model(version="v2", weight=0, shadow=100))
SECRET = "a secret that nobody may keep"


def answering(text: str, finish: str = "stop") -> Any:
    message = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    usage = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
    return saying(whole(json.dumps({"choices": [message], "usage": usage}).encode()))


def compared(here: World) -> list[Likeness]:
    return [entry for entry in here.entries() if isinstance(entry, Likeness)]


async def both(tmp_path: Path, old: Any, new: Any, work: Any) -> None:
    async with (
        StubUpstream(tmp_path / "a", old) as a,
        StubUpstream(tmp_path / "b", new) as b,
        world(tmp_path, [replica(0, a), replica(1, b, version="v2")], models=BOTH) as here,
    ):
        await work(here)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_the_same_answer_is_the_same(tmp_path: Path, stream: bool):
    async def work(here: World) -> None:
        got = await here.ask({**HI, "stream": stream})
        assert got.status == 200
        (pair,) = await until(lambda: compared(here))
        assert (pair.model, pair.version, pair.against) == ("m", "v2", "v1")
        assert (pair.score, pair.edit, pair.same, pair.ended, pair.old_size, pair.new_size) == (1, 1, True, True, 1, 1)

    run(lambda: both(tmp_path, truthful, truthful, work))


def test_other_words_another_end_and_nothing_of_them_is_written(tmp_path: Path):
    async def work(here: World) -> None:
        await here.ask({**HI, "messages": [{"role": "user", "content": SECRET}]})
        (pair,) = await until(lambda: compared(here))
        assert (pair.score, pair.edit, pair.same, pair.ended) == (0.5, 0.5, False, False)
        assert (pair.old_size, pair.new_size, pair.checked) == (2, 2, False)
        await until(lambda: len(here.usages()) == 2)
        charged = {usage.tenant: usage.charge_nanousd > 0 for usage in here.usages()}
        assert charged == {"t": True, "~shadow": False}
        for file in (tmp_path / "journal").iterdir():
            assert b"secret" not in file.read_bytes()
            assert b"Lyon" not in file.read_bytes()

    run(lambda: both(tmp_path, answering("it's Paris"), answering("it's Lyon", "length"), work))


def test_who_keeps_to_a_schema(tmp_path: Path):
    wanted = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object", "required": ["at"]}}}

    async def work(here: World) -> None:
        await here.ask({**HI, "response_format": wanted})
        (pair,) = await until(lambda: compared(here))
        assert (pair.checked, pair.old_valid, pair.new_valid) == (True, True, False)

    run(lambda: both(tmp_path, answering('{"at": 1}'), answering('{"to": 1}'), work))


def test_a_copy_that_fails_is_told_and_an_original_that_fails_is_not(tmp_path: Path):
    async def work(here: World) -> None:
        assert (await here.ask(HI)).status == 200
        (pair,) = await until(lambda: compared(here))
        assert (pair.failed, pair.score) == (True, 0)

    run(lambda: both(tmp_path, truthful, dying(), work))

    async def other(here: World) -> None:
        assert (await here.ask(HI)).status == 500
        await until(lambda: len(here.usages()) == 2)
        assert compared(here) == []

    folder = tmp_path / "other"
    folder.mkdir()
    run(lambda: both(folder, dying(), truthful, other))


def test_an_answer_that_is_too_large_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(comparison, "ANSWER_BYTES_MAX", 20)

    async def work(here: World) -> None:
        for stream in (False, True):
            assert (await here.ask({**HI, "stream": stream})).status == 200
        await until(lambda: len(here.usages()) == 4)
        assert compared(here) == []

    run(lambda: both(tmp_path, truthful, truthful, work))


def test_the_client_waits_for_no_copy(tmp_path: Path):
    """The watched version answers only when the original's client has gone; they are compared then."""
    go = asyncio.Event()

    async def late(question: Question, writer: asyncio.StreamWriter) -> None:
        await go.wait()
        await truthful(question, writer)

    async def work(here: World) -> None:
        assert (await here.ask(HI)).status == 200
        assert compared(here) == []
        go.set()
        assert len(await until(lambda: compared(here))) == 1

    run(lambda: both(tmp_path, truthful, late, work))


def test_what_the_watched_version_cannot_do_is_not_asked_of_it(tmp_path: Path):
    """Its original has its answer, and nothing of the copy is left behind."""

    async def work() -> None:
        reader = Ability(dialect="vllm", logprobs=False)
        watched = model(version="v2", weight=0, shadow=100, ability=reader)
        async with (
            StubUpstream(tmp_path / "a", truthful) as a,
            StubUpstream(tmp_path / "b", truthful) as b,
            world(tmp_path, [replica(0, a), replica(1, b, version="v2")], models=(BOTH[0], watched)) as here,
        ):
            assert (await here.ask({**HI, "logprobs": True})).status == 200
            assert (len(a.asked), b.asked) == (1, [])
            assert [record.version for record in here.usages()] == ["v1"]
            assert not here.worker.exchanges

    run(work)
