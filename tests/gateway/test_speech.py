"""Speech at the door: sound leaves as it is spoken, in events or bare, and is billed as far as it came."""

import asyncio
import base64
import json
from pathlib import Path

import msgspec
import pytest

from headrace.state.table import Ability, Media, Price
from tests.gateway import stub
from tests.gateway.stub import STREAM_HEAD, Question, StubUpstream, framed
from tests.gateway.world import KEY, Answer, World, model, post, replica, run, table, until, world

PATH = "/v1/audio/speech"
ASK = {"model": "m", "input": "One two. Three four.", "voice": "alloy", "response_format": "wav"}
ABILITY = Ability(dialect="headrace", stream=True, media=Media(voices=("alloy",), formats=("wav",)))
SOUND = (b"RIFF", b"more", b"rest")


def delta(sound: bytes, characters: int | None = None) -> bytes:
    told = {"type": "speech.audio.delta", "audio": base64.b64encode(sound).decode()}
    if characters is not None:
        told["characters"] = characters
    return framed(b"data: " + json.dumps(told).encode() + b"\n\n")


DONE = framed(b'data: {"type":"speech.audio.done"}\n\n') + stub.END
SPOKEN = (STREAM_HEAD, delta(SOUND[0], 4), delta(SOUND[1], 9), delta(SOUND[2], 20), DONE)


def of_one(tmp_path: Path, behave: stub.Behaviour, check, ability: Ability = ABILITY) -> None:
    """One replica that speaks; a character costs 100 nano-dollars."""

    async def work() -> None:
        async with StubUpstream(tmp_path / "up", behave) as up:
            speaks = model(task="speak", ability=ability)
            async with world(tmp_path, [replica(1, up)], models=[speaks]) as here:
                price = Price(id="p", model="m@v1", units={"characters": 100_000})
                made = table(2, [replica(1, up)], [speaks])
                here.worker._took(msgspec.structs.replace(made, prices=(price,)))
                await check(here, up)

    run(work)


def test_bare_sound_is_chunks_of_the_file(tmp_path: Path):
    """With the file's type and no word of ours in it; the engine is asked for events."""

    async def check(here: World, up: StubUpstream) -> None:
        got = await here.ask({**ASK, "stream_format": "audio"}, PATH)
        assert (got.status, got.headers["content-type"], got.body) == (200, "audio/wav", b"".join(SOUND))
        assert got.headers["transfer-encoding"] == "chunked"
        assert up.asked[0].body["stream_format"] == "sse"
        used = await here.usage()
        assert (used.outcome, used.items, used.charge_nanousd) == ("finished", 20, 2_000)

    of_one(tmp_path, stub.saying(*SPOKEN), check)


def test_events_are_openais_and_end_with_the_charge(tmp_path: Path):
    """What the engine says of characters is for the books alone."""

    async def check(here: World, _: StubUpstream) -> None:
        got = await here.ask({**ASK, "stream_format": "sse"}, PATH)
        assert got.headers["content-type"].startswith("text/event-stream")
        *deltas, done = [json.loads(event[6:]) for event in got.events]
        assert b"".join(base64.b64decode(each["audio"]) for each in deltas) == b"".join(SOUND)
        assert {tuple(each) for each in deltas} == {("type", "audio")}
        assert (done["type"], done["usage"]["total_tokens"]) == ("speech.audio.done", 0)
        assert (done["usage"]["headrace"]["cost"], done["usage"]["headrace"]["characters"]) == ("0.000002000", 20)

    of_one(tmp_path, stub.saying(*SPOKEN), check)


@pytest.mark.parametrize("form", ["audio", "sse"])
def test_an_engine_that_does_not_stream_is_told_of_in_pieces(tmp_path: Path, form: str):
    """It is asked for all of it; the client hears the same."""

    async def check(here: World, up: StubUpstream) -> None:
        got = await here.ask({**ASK, "stream_format": form}, PATH)
        heard = got.body
        if form == "sse":
            heard = b"".join(base64.b64decode(json.loads(event[6:]).get("audio", "")) for event in got.events)
        assert heard == b"".join(SOUND)
        assert "stream_format" not in up.asked[0].body
        assert (await here.usage()).items == 20

    whole = stub.saying(stub.whole(b"".join(SOUND)))
    of_one(tmp_path, whole, check, Ability(dialect="openai", stream=False))


def test_sound_that_breaks_is_cut_and_what_was_spoken_is_billed(tmp_path: Path):
    """The framing tells it: there is no last chunk. In events an error does."""

    async def check(here: World, _: StubUpstream) -> None:
        line = await here.line()
        line.send(post({**ASK, "stream_format": "audio"}, PATH, KEY))
        await line.head()
        heard = await line.chunk()
        while heard != b"".join(SOUND[:2]):
            heard += await line.chunk()
        assert await line.closed()
        used = await here.usage()
        assert (used.outcome, used.code, used.items) == ("failed", "upstream_failed", 9)
        assert (used.output_tokens, used.charge_nanousd) == (0, 900)
        told: Answer = await here.ask({**ASK, "stream_format": "sse"}, PATH)
        assert json.loads(told.events[-1][6:])["error"]["code"] == "upstream_failed"

    of_one(tmp_path, stub.dying(*SPOKEN[:3]), check)


def test_who_leaves_stops_the_engine_and_pays_for_what_was_spoken(tmp_path: Path):
    """Nine of twenty characters; the engine's connection is cut."""

    async def speaks_on(_: Question, writer: asyncio.StreamWriter) -> None:
        writer.write(b"".join(SPOKEN[:3]))
        await asyncio.Event().wait()

    async def check(here: World, up: StubUpstream) -> None:
        line = await here.line()
        line.send(post({**ASK, "stream_format": "audio"}, PATH, KEY))
        await line.head()
        heard = await line.chunk()
        while heard != b"".join(SOUND[:2]):
            heard += await line.chunk()
        line.close()
        await asyncio.wait_for(up.gone.wait(), 5)
        used = await here.usage()
        assert (used.outcome, used.items, used.charge_nanousd) == ("cancelled", 9, 900)

    of_one(tmp_path, speaks_on, check)


def test_nothing_is_said_before_the_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A file has no place for comments: who waits for a replica is sent nothing until there is sound, or an error."""
    monkeypatch.setattr("headrace.gateway.exchange.FIRST_COMMENT_US", 0)

    async def check(here: World, up: StubUpstream) -> None:
        here.give([], models=[model(task="speak", ability=ABILITY, state="asleep")])
        line = await here.line()
        line.send(post({**ASK, "stream_format": "audio"}, PATH, KEY))
        await until(lambda: here.worker.exchanges)
        (work,) = here.worker.exchanges.values()
        work.tick(here.worker.clock.monotonic_us() + 60_000_000)
        here.give([replica(1, up)], models=[model(task="speak", ability=ABILITY)])
        got = await asyncio.wait_for(line.answer(), 10)
        assert got.body == b"".join(SOUND)

    of_one(tmp_path, stub.saying(*SPOKEN), check)


@pytest.mark.parametrize("said", [delta(b"<htm", 4), framed(b"data: {}\n\n"), framed(b'data: {"type":"x"}\n\n')])
def test_what_is_no_sound_is_an_engines_fault(tmp_path: Path, said: bytes):
    """Nothing of it reaches the client."""

    async def check(here: World, _: StubUpstream) -> None:
        got = await here.ask({**ASK, "stream_format": "audio"}, PATH)
        assert (got.status, got.json["error"]["code"]) == (502, "upstream_failed")
        assert (await here.usage()).charge_nanousd == 0

    of_one(tmp_path, stub.saying(STREAM_HEAD, said), check)
