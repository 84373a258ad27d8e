"""Batches through a real gateway: what is tried again and what is not, and every way to their end."""

import asyncio
import errno
import os
from pathlib import Path
from typing import Any

import openai
import pytest

from headrace.jobs import batch_work, results
from headrace.jobs.results import Results
from headrace.state.table import Table
from tests.gateway import stub
from tests.gateway.stub import Question, StubUpstream
from tests.gateway.world import World, replica, run, until, world
from tests.jobs.world import Hand, begin, chats, client, ended, jobs, rows, runner


def said(question: Question) -> str:
    text: str = question.body["messages"][-1]["content"]
    return text


async def mixed(question: Question, writer: asyncio.StreamWriter) -> None:
    """Answers with what it was told; breaks on `broken`."""
    if said(question) == "broken":
        writer.write(stub.whole(b'{"error": {"message": "a secret of the engine"}}', 500))
        return
    writer.write(stub.whole(stub.answer(said(question))))


def test_each_line_ends_in_one_file_and_what_breaks_is_tried_again(tmp_path: Path):
    """Blank lines and indented bodies are no matter; three tries for what the engine breaks."""
    data = chats(["one", "broken", "two"]).replace(b"\n", b"\n\n")

    async def check(asked: openai.AsyncOpenAI, here: World, up: StubUpstream) -> None:
        batch = await ended(asked, (await begin(asked, data)).id)
        assert (batch.status, batch.request_counts.completed, batch.request_counts.failed) == ("completed", 2, 1)
        good, bad = await rows(asked, batch.output_file_id), await rows(asked, batch.error_file_id)
        assert {name: row["response"]["body"]["choices"][0]["message"]["content"] for name, row in good.items()} == {
            "c0": "one", "c2": "two"
        }  # fmt: skip
        assert bad["c1"]["response"]["status_code"] == 502
        assert "secret" not in str(bad)
        assert bad["c1"]["headrace"]["cost_nanousd"] is None
        assert (batch.usage.input_tokens, batch.usage.output_tokens) == (14, 2)
        usages = [usage for usage in here.usages() if usage.outcome == "finished"]
        assert {usage.label for usage in usages} == {f"{batch.id}/0", f"{batch.id}/2"}
        assert batch.model_extra["headrace"]["cost_nanousd"] == sum(usage.charge_nanousd for usage in usages) > 0
        assert sum(said(question) == "broken" for question in up.asked) >= batch_work.TRIES_MAX

    jobs(tmp_path, mixed, check)


def test_a_runner_that_ends_in_the_middle_asks_nothing_twice(tmp_path: Path):
    """What was on its way is finished by the gateway and found again; each line is asked and paid once."""
    go = asyncio.Event()

    async def slowly(question: Question, writer: asyncio.StreamWriter) -> None:
        if said(question) > "q02":
            await go.wait()
        writer.write(stub.whole(stub.answer(said(question))))

    async def work() -> None:
        async with (
            StubUpstream(tmp_path / "up", slowly) as up, world(tmp_path, [replica(0, up)]) as here, client(here) as asked
        ):  # fmt: skip
            async with runner(here):
                batch = await begin(asked, chats([f"q{n:02}" for n in range(9)]))
                await until(lambda: len(up.asked) >= 5)
                assert (await asked.batches.retrieve(batch.id)).request_counts.completed == 3
            go.set()
            async with runner(here):
                batch = await ended(asked, batch.id)
                assert (batch.status, batch.request_counts.completed) == ("completed", 9)
                assert len(await rows(asked, batch.output_file_id)) == 9
                assert sorted(said(question) for question in up.asked) == [f"q{n:02}" for n in range(9)]
                assert len(here.usages()) == 9
                assert not list((tmp_path / "jobs" / "batches").iterdir())

    run(work)


def test_large_answers_that_nobody_took_down_are_there_for_the_next_runner(tmp_path: Path, monkeypatch: Any):
    """A runner that is killed between the answer and its writing loses nothing; afterwards the gateway keeps nothing."""
    large = "x" * (600 << 10)
    written = Results._write

    async def big(question: Question, writer: asyncio.StreamWriter) -> None:
        writer.write(stub.whole(stub.answer(large + said(question))))

    def never(_results: Results, _file: int, _text: bytes) -> None:
        raise OSError(errno.EIO, "this runner writes nothing any more")

    async def work() -> None:
        async with (
            StubUpstream(tmp_path / "up", big) as up, world(tmp_path, [replica(0, up)]) as here, client(here) as asked
        ):  # fmt: skip
            kept = lambda: [file for file in here.worker.settings.repeats.iterdir() if file.suffix == ".large"]  # noqa: E731 - one look
            monkeypatch.setattr(Results, "_write", never)
            async with runner(here):
                batch = await begin(asked, chats(["a", "b", "c"]))
                await until(lambda: len(kept()) == 3)
            monkeypatch.setattr(Results, "_write", written)
            async with runner(here):
                batch = await ended(asked, batch.id)
                assert (batch.status, batch.request_counts.completed) == ("completed", 3)
                found = await rows(asked, batch.output_file_id)
                told = {
                    name: row["response"]["body"]["choices"][0]["message"]["content"] for name, row in found.items()
                }
                assert told == {"c0": large + "a", "c1": large + "b", "c2": large + "c"}
                assert len(up.asked) == len(here.usages()) == 3
                assert kept() == []

    run(work)


def test_what_has_not_been_asked_in_a_day_has_expired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The clock is the wall's; what is at work is waited for a moment and called off."""
    monkeypatch.setattr(batch_work, "GRACE_S", 0.05)
    clock, go = Hand(), asyncio.Event()

    async def silent(question: Question, writer: asyncio.StreamWriter) -> None:
        if said(question) == "quick":
            writer.write(stub.whole(stub.answer("now")))
            return
        await go.wait()
        writer.write(stub.whole(stub.answer("too late")))

    async def check(asked: openai.AsyncOpenAI, here: World, up: StubUpstream) -> None:
        batch = await begin(asked, chats(["quick", "never", "never", "never", "never", "never"]))
        await until(lambda: len(up.asked) >= 3)
        clock.ahead_s = 24 * 3_600
        batch = await ended(asked, batch.id)
        assert (batch.status, batch.request_counts.completed, batch.request_counts.failed) == ("expired", 1, 5)
        assert batch.expired_at >= batch.finalizing_at
        assert {row["error"]["code"] for row in (await rows(asked, batch.error_file_id)).values()} == {"batch_expired"}
        go.set()

    jobs(tmp_path, silent, check, clock)


def test_a_key_that_is_revoked_ends_its_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What was done is kept, and the reason is told."""
    monkeypatch.setattr(batch_work, "DENIED_US", 0)
    go = asyncio.Event()
    tables: list[Table] = []

    async def slowly(question: Question, writer: asyncio.StreamWriter) -> None:
        if said(question) == "later":
            await go.wait()
        writer.write(stub.whole(stub.answer("Paris")))

    async def check(asked: openai.AsyncOpenAI, here: World, up: StubUpstream) -> None:
        batch = await begin(asked, chats(["now", "later", *["unasked"] * 40]))
        await until(lambda: any(said(question) == "later" for question in up.asked))
        tables.append(here.worker.directory.table)
        here.give([replica(0, up)])
        here.worker._doorman.update(())
        go.set()
        await until(lambda: not (tmp_path / "jobs" / "batches" / batch.id).exists(), 10)
        here.worker._doorman.update(tables[0].keys)
        batch = await ended(asked, batch.id)
        assert batch.status == "failed"
        assert batch.errors.data[0].code == "invalid_api_key"
        assert (await rows(asked, batch.output_file_id))["c0"]["response"]["status_code"] == 200
        assert batch.request_counts.total == batch.request_counts.completed + batch.request_counts.failed == 42

    jobs(tmp_path, slowly, check)


def test_a_full_disk_is_waited_for_and_costs_nothing_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The answer that could not be written comes again from the gateway's memory."""
    monkeypatch.setattr(batch_work, "US_PER_S", 10_000)
    fails, write = [2], os.write

    def full(file: int, data: Any) -> int:
        if not (fails[0] and b'"custom_id"' in bytes(data)):
            return write(file, data)
        fails[0] -= 1
        write(file, bytes(data)[:20])  # some of it
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(results.os, "write", full)

    async def check(asked: openai.AsyncOpenAI, here: World, up: StubUpstream) -> None:
        batch = await ended(asked, (await begin(asked, chats(["a", "b", "c"]))).id)
        assert (batch.status, batch.request_counts.completed) == ("completed", 3)
        assert len(await rows(asked, batch.output_file_id)) == 3
        assert fails == [0]
        assert len(up.asked) == len(here.usages()) == 3

    jobs(tmp_path, mixed, check)


def test_a_batch_is_made_once_however_often_it_is_sent(tmp_path: Path):
    async def check(asked: openai.AsyncOpenAI, here: World, up: StubUpstream) -> None:
        again = {"extra_headers": {"Idempotency-Key": "evening"}}
        one, two = await begin(asked, chats(["a"]), **again), await begin(asked, chats(["b"]), **again)
        assert one.id == two.id
        assert (await ended(asked, one.id)).request_counts.completed == 1
        assert [said(question) for question in up.asked] == ["a"]

    jobs(tmp_path, mixed, check)


def test_a_batch_whose_input_is_taken_away_fails(tmp_path: Path):
    """At the moment it begins."""

    async def check(asked: openai.AsyncOpenAI, here: World, up: StubUpstream) -> None:
        file = await asked.files.create(file=("in.jsonl", chats(["a"])), purpose="batch")
        for stored in (tmp_path / "objects-files").iterdir():
            stored.write_bytes(b"other bytes")
        batch = await asked.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        batch = await ended(asked, batch.id)
        assert batch.status == "failed"
        assert "damaged" in batch.errors.data[0].message

    jobs(tmp_path, mixed, check)


def test_metadata_is_bounded_by_name(tmp_path: Path):
    async def check(asked: openai.AsyncOpenAI, here: World, up: StubUpstream) -> None:
        for metadata in ({str(n): "x" for n in range(17)}, {"a": "x" * 513}, {"a" * 65: "x"}):
            with pytest.raises(openai.BadRequestError) as told:
                await begin(asked, chats(["a"]), metadata=metadata)
            assert told.value.param == "metadata"

    jobs(tmp_path, mixed, check)
