"""Responses in the background that are told while they are made, over a gateway whose stream a test lets go and breaks."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import Unreachable
from headrace.wire.usage import Counts
from tests.jobs.test_response_routes import Gateway, Runner, running
from tests.wire.bodies import RESPONSES, conforms, parts_stream, read

ASK = {"background": True, "stream": True}
COUNTS = Counts(input_tokens=5, output_tokens=3, bill={"cost": "0.000000005", "unit": "USD", "price": "p"})
WORDS = ["One", " two", " three"]


def stream() -> list[bytes]:
    """A gateway's own events of an answer."""
    meter = read("/v1/responses", input="Hi", stream=True).meter("vllm", "req_9", 7_000_000)
    told = meter.feed(parts_stream([("text", WORDS)], "stop")) + meter.tail(COUNTS)
    return [event + b"\n\n" for event in told.split(b"\n\n") if event]


class Cut:
    """A stream that breaks before its nth event, if it is told to; it waits there for `let`."""

    status = 200

    def __init__(self, at: int | None, let: asyncio.Event) -> None:
        self.headers: dict[str, str] = {}
        self._at, self._let = at, let
        self.closed = False

    async def events(self) -> AsyncIterator[bytes]:
        yield b": waiting for m\n\n"
        for number, event in enumerate(stream()):
            if number == self._at:
                await self._let.wait()
                raise Unreachable("cut")
            yield event

    def close(self) -> None:
        self.closed = True


class Telling(Gateway):
    """The streams it gives, one after the other: where each is cut."""

    def __init__(self, *cuts: int | None) -> None:
        super().__init__()
        self.streams = [Cut(at, self.let) for at in cuts]
        self.given: list[Cut] = []

    async def stream(self, path: str, *, key: str, data: bytes, headers: Any) -> Any:
        assert json.loads(data)["stream"] is True
        self.names.append(headers["idempotency-key"])
        self.given.append(self.streams.pop(0))
        return self.given[-1]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.jobs.response_work.WAIT_S", 0.0)


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]


async def made(here: Runner) -> list[dict[str, Any]]:
    answer = await here.ask("POST", body={"model": "m", "input": "Hi", **ASK})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    return events(answer.text)


def test_it_is_told_from_its_beginning_to_its_end_and_again(tmp_path: Path):
    """As published, numbered from 0; whoever comes later hears the same from where they were."""
    gateway = Telling(None)

    async def work(here: Runner) -> None:
        told = await made(here)
        for event in told:
            conforms("ResponseStreamEvent", event, RESPONSES)
        assert [event["sequence_number"] for event in told] == list(range(len(told)))
        assert [event["type"] for event in told[:3]] == [
            "response.created", "response.queued", "response.in_progress",
        ]  # fmt: skip
        assert told[-1]["type"] == "response.completed"
        name = told[0]["response"]["id"]
        assert {event["response"]["id"] for event in told if "response" in event} == {name}
        assert all(event["response"]["background"] for event in told if "response" in event)
        assert "".join(event["delta"] for event in told if event["type"].endswith("text.delta")) == "".join(WORDS)
        for after in (None, 0, 4, len(told) - 2, len(told) - 1, 99):
            path = f"/{name}?stream=true" + ("" if after is None else f"&starting_after={after}")
            again = events((await here.ask("GET", path)).text)
            assert again == told[0 if after is None else after + 1 :]
        found = (await here.ask("GET", f"/{name}")).json()
        assert found == told[-1]["response"]
        assert gateway.given[0].closed

    running(tmp_path, gateway, work)


def test_what_breaks_before_a_word_is_begun_again_unseen(tmp_path: Path):
    """The beginning is told once."""
    gateway = Telling(0, 1, 2, None)
    gateway.let.set()

    async def work(here: Runner) -> None:
        told = await made(here)
        kinds = [event["type"] for event in told]
        assert (kinds[-1], kinds.count("response.in_progress")) == ("response.completed", 1)
        assert len(gateway.names) == 4

    running(tmp_path, gateway, work)


def test_what_breaks_after_a_word_has_failed_and_is_not_asked_again(tmp_path: Path):
    """Words that were told cannot be told otherwise."""
    gateway = Telling(6, None)
    gateway.let.set()

    async def work(here: Runner) -> None:
        told = await made(here)
        assert told[-1]["type"] == "response.failed"
        assert "ask again" in told[-1]["response"]["error"]["message"]
        conforms("ResponseStreamEvent", told[-1], RESPONSES)
        assert len(gateway.names) == 1

    running(tmp_path, gateway, work)


@pytest.mark.parametrize(("cut", "end"), [(6, "response.failed"), (2, "response.completed")])
def test_the_next_runner_ends_what_was_begun(tmp_path: Path, cut: int, end: str):
    """With words told it has failed, without it is made; numbers go on where they were."""
    name = ""

    async def begin(here: Runner) -> None:
        nonlocal name
        asked = asyncio.create_task(made(here))
        async with asyncio.timeout(10):
            while not gateway.names:
                await asyncio.sleep(0)
            name = gateway.names[0].partition("/")[0]
            await asyncio.sleep(0.2)  # what was told is kept
        asked.cancel()

    async def later(here: Runner) -> None:
        assert (await here.ended(name))["status"] == end.partition(".")[2]
        told = events((await here.ask("GET", f"/{name}?stream=true&starting_after=1")).text)
        assert [event["sequence_number"] for event in told] == list(range(2, 2 + len(told)))
        assert told[-1]["type"] == end

    gateway = Telling(cut)
    gateway.let.clear()
    running(tmp_path, gateway, begin)
    running(tmp_path, Telling(None), later)


def test_one_that_is_called_off_says_so_and_one_that_is_deleted_is_gone(tmp_path: Path):
    """Who follows it hears that it ended."""
    gateway = Telling(6, 6)
    gateway.let.clear()

    async def work(here: Runner) -> None:
        for deleted in (False, True):
            asked = asyncio.create_task(made(here))
            async with asyncio.timeout(10):
                while len(gateway.names) < 1 + deleted:
                    await asyncio.sleep(0)
            name = gateway.names[-1].partition("/")[0]
            if deleted:
                assert (await here.ask("DELETE", f"/{name}")).status_code == 200
                assert not (await asked)[-1]["type"].endswith("incomplete")
                assert (await here.ask("GET", f"/{name}?stream=true")).status_code == 404
            else:
                assert (await here.ask("POST", f"/{name}/cancel")).json()["status"] == "cancelled"
                assert (await asked)[-1]["response"]["status"] == "cancelled"

    running(tmp_path, gateway, work)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("?stream=yes", "give true or false"),
        ("?starting_after=1", "goes with stream=true"),
        ("?stream=true&starting_after=-1", "sequence_number of the last event"),
        ("?stream=true", "has no events"),
    ],
)
def test_what_cannot_be_followed_is_refused(tmp_path: Path, path: str, said: str):
    """With the fix."""

    async def work(here: Runner) -> None:
        name = (await here.make(background=True))["id"]
        await here.ended(name)
        answer = await here.ask("GET", f"/{name}{path}")
        assert answer.status_code == 400
        assert said in answer.json()["error"]["message"]

    running(tmp_path, Telling(), work)
