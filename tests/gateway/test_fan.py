"""Requests that take several calls of engines: one answer, one record and one charge, whatever the parts do."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from headrace.gateway import client
from headrace.state.table import Ability, RouteBudget
from headrace.state.usage import Usage
from headrace.state.work import WorkRate
from tests.gateway import stub
from tests.gateway.stub import END, STREAM_HEAD, Question, StubUpstream, framed, piece, usage, whole
from tests.gateway.test_budgets import Control
from tests.gateway.test_exchange import FullDisk
from tests.gateway.world import CHAT, HI, KEY, UNITS, World, model, post, replica, run, until, world

ONE = Ability(dialect="vllm", tools=True, n=False)
TWO = Ability(dialect="vllm", tools=True, n_max=2)
FOUR = {**HI, "n": 4, "seed": 7}
Test = Callable[[World, StubUpstream, StubUpstream], Awaitable[None]]


def of_two(folder: Path, behave: stub.Behaviour, test: Test, *, slots: int = 2, ability: Ability = ONE) -> None:
    """Two replicas whose engine makes one choice at a time."""

    async def work() -> None:
        async with (
            StubUpstream(folder / "a", behave) as a,
            StubUpstream(folder / "b", behave) as b,
            world(
                folder, [replica(0, a, slots=slots), replica(1, b, slots=slots)], models=(model(ability=ability),)
            ) as here,
        ):
            await test(here, a, b)

    run(work)


async def telling(question: Question, writer: asyncio.StreamWriter) -> None:
    """Says its seed; in a stream, in two pieces."""
    said = f"seed {question.body.get('seed')}"
    if not question.body.get("stream"):
        (choice,) = json.loads(stub.answer(said))["choices"]
        writer.write(
            whole(stub.answer(said, 3, choices=[{**choice, "index": i} for i in range(question.body.get("n", 1))]))
        )
        return
    writer.write(STREAM_HEAD)
    for event in stub.words(said[:5], said[5:]):
        writer.write(framed(event))
        await writer.drain()
        await asyncio.sleep(0)
    writer.write(framed(usage(3)) + framed(stub.DONE) + END)


def charge(input_tokens: int, output_tokens: int) -> int:
    return -(-(UNITS["input_tokens"] * input_tokens + UNITS["output_tokens"] * output_tokens) // 1000)


def test_choices_are_spread_over_the_replicas(tmp_path: Path):
    """Side by side, each with a seed of its own; the prompt counts once; one record tells where each was."""

    async def test(here: World, a: StubUpstream, b: StubUpstream) -> None:
        asking = asyncio.ensure_future(here.ask(FOUR))
        await until(lambda: len(a.asked) == len(b.asked) == 2)
        go.set()
        got = await asking
        assert got.status == 200
        choices = got.json["choices"]
        assert [choice["index"] for choice in choices] == [0, 1, 2, 3]
        assert [choice["message"]["content"] for choice in choices] == [f"seed {7 + i}" for i in range(4)]
        assert all("n" not in question.body for question in [*a.asked, *b.asked])
        shown = got.json["usage"]
        assert (shown["prompt_tokens"], shown["completion_tokens"], shown["total_tokens"]) == (7, 12, 19)
        record = await here.usage()
        assert got.json["id"] == f"chatcmpl-{record.request}"
        assert (record.outcome, record.input_tokens, record.output_tokens, record.attempts) == ("finished", 7, 12, 4)
        assert record.charge_nanousd == charge(7, 12)
        assert [part.choice for part in record.parts] == [0, 1, 2, 3]
        assert sorted(part.replica for part in record.parts) == ["r0", "r0", "r1", "r1"]
        assert all(part.start_us <= part.first_us <= part.end_us for part in record.parts)
        assert record.busy_us == sum(part.end_us - part.start_us for part in record.parts)
        assert record.why == "4 calls of 2 replicas"
        assert len(here.begun()) == 1

    go = asyncio.Event()

    async def waiting(question: Question, writer: asyncio.StreamWriter) -> None:
        await go.wait()
        await telling(question, writer)

    of_two(tmp_path, waiting, test)


def test_what_an_engine_can_do_is_left_to_it(tmp_path: Path):
    """Two choices are one call, three are three."""

    async def test(here: World, a: StubUpstream, b: StubUpstream) -> None:
        await here.ask({**HI, "n": 2, "seed": 1})
        assert [question.body["n"] for question in [*a.asked, *b.asked]] == [2]
        await here.ask({**HI, "n": 3, "seed": 1})
        assert len(a.asked) + len(b.asked) == 4

    of_two(tmp_path, telling, test, ability=TWO)


def test_parts_wait_for_slots_like_any_request(tmp_path: Path):
    """Four choices with one slot in all, one after another."""

    async def work() -> None:
        async with StubUpstream(tmp_path / "a", telling) as a:
            one, models = [replica(0, a, slots=1)], (model(ability=ONE),)
            async with world(tmp_path, one, models=models) as here:
                got = await here.ask(FOUR)
                assert len(got.json["choices"]) == 4
                record = await here.usage()
                stays = sorted((part.start_us, part.end_us) for part in record.parts)
                assert all(end <= start for (_, end), (start, _) in pairwise(stays))

    run(work)


def test_streams_of_the_choices_interleave(tmp_path: Path):
    """Chunks carry their own index and one id; one usage chunk, one `[DONE]`."""

    async def test(here: World, a: StubUpstream, b: StubUpstream) -> None:
        got = await here.ask({**FOUR, "stream": True, "stream_options": {"include_usage": True}})
        chunks = [json.loads(event[6:]) for event in got.events[:-1]]
        assert got.events[-1] == "data: [DONE]"
        assert len({chunk["id"] for chunk in chunks}) == 1
        texts = ["", "", "", ""]
        order = []
        for chunk in chunks[:-1]:
            (choice,) = chunk["choices"]
            order.append(choice["index"])
            texts[choice["index"]] += choice["delta"].get("content") or ""
        assert texts == [f"seed {7 + i}" for i in range(4)]
        assert order != sorted(order)
        assert chunks[-1]["choices"] == []
        assert chunks[-1]["usage"]["completion_tokens"] == 12
        record = await here.usage()
        assert chunks[-1]["usage"]["headrace"]["cost"].endswith(str(record.charge_nanousd))
        assert (record.output_tokens, record.charge_nanousd, record.stream) == (12, charge(7, 12), True)

    of_two(tmp_path, telling, test)


@pytest.mark.parametrize(("ttft_us", "late"), [(60_000_000, 0), (1, 6)])
def test_the_first_token_of_each_part_is_told_to_who_decides(tmp_path: Path, ttft_us: int, late: int):
    """Each in a stream of its own sets the times of prompts right, and may be late; of whole parts nobody sees one."""

    async def work() -> None:
        rate = WorkRate(fixed_ns=100, input_ns=1, output_ns=1_000)  # a prompt that would be in time alone
        models = (model(ability=ONE, ttft_us=ttft_us, rate=rate),)
        async with StubUpstream(tmp_path / "a", telling) as a, world(tmp_path, [replica(0, a)], models=models) as here:
            (lane,) = here.worker.dispatch._lanes.values()
            await here.ask(FOUR)
            assert not lane.prompts_told
            for count in (4, 2):
                await here.ask({**FOUR, "stream": True, "n": count})
            assert lane.prompts_told
            (found,) = here.worker.dispatch.demand(here.worker.clock.monotonic_us())
            assert (found.begun, found.late) == (6, late)

    run(work)


def test_a_part_that_fails_is_tried_elsewhere(tmp_path: Path):
    """The answer is whole, and the failed try is on nobody's bill."""

    async def test(here: World, a: StubUpstream, b: StubUpstream) -> None:
        got = await here.ask(FOUR)
        assert [choice["message"]["content"] for choice in got.json["choices"]] == [f"seed {7 + i}" for i in range(4)]
        record = await here.usage()
        assert len(record.failed) == 1
        assert (record.attempts, len(record.parts), record.charge_nanousd) == (5, 4, charge(7, 12))

    broken: list[Question] = []

    async def once_broken(question: Question, writer: asyncio.StreamWriter) -> None:
        if not broken:
            broken.append(question)
            writer.close()
            return
        await telling(question, writer)

    of_two(tmp_path, once_broken, test)


def test_a_part_without_its_choice_is_tried_elsewhere(tmp_path: Path):
    """An answer of no choices is none."""

    async def test(here: World, a: StubUpstream, b: StubUpstream) -> None:
        got = await here.ask(FOUR)
        assert len(got.json["choices"]) == 4
        assert len((await here.usage()).failed) == 1

    empty: list[Question] = []

    async def once_empty(question: Question, writer: asyncio.StreamWriter) -> None:
        if not empty:
            empty.append(question)
            writer.write(whole(stub.answer(choices=[])))
            return
        await telling(question, writer)

    of_two(tmp_path, once_empty, test)


@pytest.mark.parametrize("stream", [False, True])
def test_a_part_that_fails_for_good_fails_all(tmp_path: Path, stream: bool):
    """One clear error, the others are called off, nothing is charged, and the time is booked as failed."""

    async def test(here: World, a: StubUpstream, b: StubUpstream) -> None:
        got = await here.ask({**FOUR, "stream": stream})
        assert (got.status, got.json["error"]["code"]) == (502, "upstream_failed")
        await until(lambda: a.gone.is_set() and b.gone.is_set())
        record = await here.usage()
        assert (record.outcome, record.charge_nanousd, record.output_tokens) == ("failed", 0, 0)
        assert len(record.failed) == 2
        assert {part.choice for part in record.parts} == {1, 2, 3}

    async def bad_seed(question: Question, writer: asyncio.StreamWriter) -> None:
        if question.body["seed"] == 7:
            await until(lambda: len(begun) >= 3)
            writer.write(whole(b"{}", 503))
            return
        begun.append(question)
        await asyncio.Event().wait()

    begun: list[Question] = []
    of_two(tmp_path, bad_seed, test, slots=4)


def test_a_stream_that_breaks_in_one_part_ends(tmp_path: Path):
    """With an error event after what came; what was delivered is charged."""

    async def test(here: World, a: StubUpstream, b: StubUpstream) -> None:
        got = await here.ask({**FOUR, "stream": True})
        assert json.loads(got.events[-1][6:])["error"]["code"] == "upstream_failed"
        record = await here.usage()
        assert (record.outcome, record.status) == ("failed", 502)
        assert record.charge_nanousd == charge(record.input_tokens, record.output_tokens) > 0
        assert record.output_tokens == sum(part.output_tokens for part in record.parts)

    async def half(question: Question, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + framed(piece({"role": "assistant", "content": "so"})))
        await writer.drain()
        if question.body["seed"] == 7:
            await asyncio.sleep(0.05)
            writer.close()
            return
        await asyncio.Event().wait()

    of_two(tmp_path, half, test)


def test_a_client_that_leaves_takes_all_parts_with_it(tmp_path: Path):
    """Those at work and those that wait; what was worked on is charged."""

    async def test(here: World, a: StubUpstream, b: StubUpstream) -> None:
        line = await here.line()
        line.send(post({**FOUR, "n": 6}))
        await until(lambda: len(a.asked) == len(b.asked) == 2)
        line.close()
        await until(lambda: a.gone.is_set() and b.gone.is_set())
        record = await here.usage()
        assert (record.outcome, record.status, len(record.parts)) == ("cancelled", 499, 4)
        assert record.charge_nanousd == charge(record.input_tokens, 0) > 0

    of_two(tmp_path, stub.silent, test)


def test_a_client_that_does_not_read_stops_all_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """No engine is read on for it, and after the stall it is let go with all of them."""
    monkeypatch.setattr(client, "WRITE_STALL_S", 0.3)
    sent = 0

    async def flood(_: Question, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(STREAM_HEAD)
        event = framed(piece({"content": "x" * 4000}))
        while True:
            writer.write(event)
            await writer.drain()
            sent += len(event)

    async def test(here: World, a: StubUpstream, b: StubUpstream) -> None:
        line = await here.line()
        line.writer.transport.pause_reading()
        line.send(post({**FOUR, "stream": True}))
        worst = 0
        while not here.usages():
            worst = max([worst, *(each.transport.get_write_buffer_size() for each in here.worker.connections)])
            await asyncio.sleep(0.005)
        assert worst < 4 << 20
        assert sent < 64 << 20
        assert (await here.usage()).outcome == "cancelled"
        await until(lambda: a.gone.is_set() and b.gone.is_set())
        line.close()

    of_two(tmp_path, flood, test)


def test_a_slow_reader_gets_every_piece_of_every_choice(tmp_path: Path):
    """Paused and resumed, not a byte is lost."""

    async def long(_: Question, writer: asyncio.StreamWriter) -> None:
        events = [piece({"content": f"{n:06d}" * 100}) for n in range(500)]
        for event in [stub.words()[0], *events, stub.words()[-1], usage(502), stub.DONE]:
            writer.write(STREAM_HEAD * (event == stub.words()[0]) + framed(event))
            await writer.drain()
        writer.write(END)

    async def test(here: World, a: StubUpstream, b: StubUpstream) -> None:
        line = await here.line()
        line.send(post({**FOUR, "n": 2, "stream": True, "max_tokens": 4000}))
        await asyncio.sleep(0.05)
        got = await asyncio.wait_for(line.answer(), 20)
        texts = ["", ""]
        for event in got.events[:-1]:
            (choice,) = json.loads(event[6:])["choices"]
            texts[choice["index"]] += choice["delta"].get("content") or ""
        assert texts == ["".join(f"{n:06d}" * 100 for n in range(500))] * 2
        line.close()

    of_two(tmp_path, long, test)


def test_choices_that_cannot_be_recorded_are_not_served(tmp_path: Path):
    """503 instead of the answer, though all parts were there."""

    async def test(here: World, a: StubUpstream, b: StubUpstream) -> None:
        real = here.worker.journal
        here.worker.journal = full = FullDisk(real)
        got = await here.ask(FOUR)
        assert (got.status, got.json["error"]["code"]) == (503, "storage_unavailable")
        full.full, here.worker.journal = False, real
        here.worker.stored(True)

    of_two(tmp_path, telling, test)


def test_choices_that_outlive_their_client_are_kept(tmp_path: Path):
    """They are finished, charged once, and there for who asks again."""

    async def test(here: World, a: StubUpstream, b: StubUpstream) -> None:
        own = ("Idempotency-Key: mine", "x-headrace-on-disconnect: finish")
        line = await here.line()
        line.send(post(FOUR, CHAT, KEY, *own))
        await until(lambda: len(a.asked) == len(b.asked) == 2)
        line.close()
        go.set()
        record = await here.usage()
        assert (record.outcome, len(record.parts)) == ("finished", 4)
        while (again := await here.ask(FOUR, CHAT, *own)).status == 409:
            await asyncio.sleep(0)  # its answer is kept a moment after its record
        assert again.headers["x-headrace-replayed"] == record.request
        assert len(again.json["choices"]) == 4
        assert len(a.asked) + len(b.asked) == 4

    go = asyncio.Event()

    async def waiting(question: Question, writer: asyncio.StreamWriter) -> None:
        await go.wait()
        await telling(question, writer)

    of_two(tmp_path, waiting, test)


def test_a_queue_that_takes_only_some_refuses_all(tmp_path: Path):
    """The place that the first parts took is given back."""

    async def work() -> None:
        async with StubUpstream(tmp_path / "a", stub.silent) as a:
            models = (model(ability=ONE, queue_max=2),)
            async with world(tmp_path, [replica(0, a, slots=1)], models=models) as here:
                got = await here.ask(FOUR)
                assert (got.status, got.json["error"]["code"]) == (503, "overloaded")
                assert "retry-after" in got.headers
                assert (await here.usage()).charge_nanousd == 0

    run(work)


def test_another_model_stands_in_for_all_parts(tmp_path: Path):
    """It is asked in its own way, and the answer says so."""

    async def work() -> None:
        async with (
            StubUpstream(tmp_path / "a", stub.saying(whole(b"{}", 503))) as a,
            StubUpstream(tmp_path / "b", telling) as b,
        ):
            models = (model(ability=ONE, fallback=("other",)), model(name="other", ability=TWO))
            both = [replica(0, a), replica(1, b, model="other")]
            async with world(tmp_path, both, models=models) as here:
                got = await here.ask({**HI, "n": 2, "seed": 7})
                assert (got.status, got.headers["x-headrace-fallback"]) == (200, "other")
                assert [question.body["n"] for question in b.asked] == [2]
                record = await here.usage()
                assert (record.model, record.replica, record.outcome) == ("other", "r1", "finished")
                assert record.failed
                assert "stands in for m" in record.why

    run(work)


def test_too_many_choices_are_refused_by_name(tmp_path: Path):
    async def test(here: World, a: StubUpstream, b: StubUpstream) -> None:
        got = await here.ask({**HI, "n": 17})
        assert (got.status, got.json["error"]["param"]) == (400, "n")

    of_two(tmp_path, telling, test)


def test_a_quote_holds_all_choices(tmp_path: Path):
    async def test(here: World, a: StubUpstream, b: StubUpstream) -> None:
        one, four = [(await here.ask({**HI, "n": n}, CHAT, "x-headrace-dry-run: quote")).json for n in (1, 4)]
        assert four["output_tokens"] == 4 * one["output_tokens"]
        more = round(1e9 * (float(four["worst_case"]) - float(one["worst_case"])))
        assert more == charge(0, 3 * (16 + 1))  # the prompt is held once
        assert {question.target for question in [*a.asked, *b.asked]} <= {"/tokenize"}

    of_two(tmp_path, telling, test)


def test_a_cap_covers_all_choices(tmp_path: Path):
    """What is enough for one is not for four; nobody is asked then."""

    async def test(here: World, a: StubUpstream, b: StubUpstream) -> None:
        quote = await here.ask(HI, CHAT, "x-headrace-dry-run: quote")
        one = round(1e9 * float(quote.json["worst_case"]))
        refused = await here.ask(FOUR, CHAT, f"x-headrace-max-cost: {one + charge(0, 3 * 17) - 1}")
        assert (refused.status, refused.json["error"]["code"]) == (429, "insufficient_quota")
        assert {question.target for question in [*a.asked, *b.asked]} <= {"/tokenize"}
        taken = await here.ask(FOUR, CHAT, f"x-headrace-max-cost: {one + charge(0, 3 * 17)}")
        assert taken.status == 200

    of_two(tmp_path, telling, test)


def test_a_budget_holds_all_choices_and_settles_once(tmp_path: Path):
    """The whole worst case is held while the parts run, and what they came to is spent."""

    async def test(here: World, a: StubUpstream, b: StubUpstream) -> None:
        made = here.worker.directory.table
        budgets = (RouteBudget(scope="tenant:t", period="day", at_limit="refuse"),)
        keys = (msgspec.structs.replace(made.keys[0], budgets=budgets),)
        here.worker._took(msgspec.structs.replace(made, revision=9, keys=keys))
        control = Control(here, 20_000)
        got = await here.ask(FOUR)
        assert got.status == 200
        record = await here.usage()
        assert (record.charge_nanousd, record.held_nanousd) == (charge(7, 12), 8_920)
        assert all(not each.held for each in here.worker.wallet._slices.values())
        control.left = 0
        refused = await here.ask({**FOUR, "n": 16, "max_tokens": 400})
        assert (refused.status, refused.json["error"]["code"]) == (429, "insufficient_quota")

    of_two(tmp_path, telling, test)


def test_completions_are_split_by_prompt_and_copy(tmp_path: Path):
    """Choices stand in the order that OpenAI gives them; each prompt counts once."""

    async def texts(question: Question, writer: asyncio.StreamWriter) -> None:
        said = f"{question.body['prompt']} {question.body.get('seed')}"
        choice = {"index": 0, "text": said, "finish_reason": "stop", "logprobs": None}
        body = {"id": "x", "object": "text_completion", "created": 1, "model": "up", "choices": [choice]}
        counted = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
        writer.write(whole(json.dumps({**body, "usage": counted}).encode()))

    async def test(here: World, a: StubUpstream, b: StubUpstream) -> None:
        got = await here.ask(
            {"model": "m", "prompt": ["one", "two"], "n": 2, "seed": 3, "max_tokens": 4}, "/v1/completions"
        )
        assert [(c["index"], c["text"]) for c in got.json["choices"]] == [
            (0, "one 3"), (1, "one 4"), (2, "two 3"), (3, "two 4"),
        ]  # fmt: skip
        record = await here.usage()
        assert (record.input_tokens, record.output_tokens) == (10, 8)

    of_two(tmp_path, texts, test)


SCHEMA = {
    "type": "object",
    "properties": {"legs": {"type": "integer"}},
    "required": ["legs"],
    "additionalProperties": False,
}
STRICT = {"type": "json_schema", "json_schema": {"name": "animal", "schema": SCHEMA, "strict": True}}
LOOSE = Ability(dialect="vllm", json_schema=False)


def answering(*texts: str) -> stub.Behaviour:
    """Each question is answered with the next of the texts."""
    left = list(texts)

    async def say(_: Question, writer: asyncio.StreamWriter) -> None:
        writer.write(whole(stub.answer(left.pop(0), 3)))

    return say


def of_loose(
    folder: Path, texts: list[str], body: dict, check: Callable[..., None], path: str = "/v1/chat/completions"
) -> None:
    async def work() -> None:
        async with (
            StubUpstream(folder / "a", answering(*texts)) as a,
            world(folder, [replica(0, a)], models=(model(ability=LOOSE),)) as here,
        ):
            got = await here.ask(body, path)
            check(got, await here.usage(), a.asked)

    run(work)


def test_an_engine_without_schemas_is_told_and_checked(tmp_path: Path):
    """What holds at once is one call, and the JSON alone is left of it."""

    def check(got, record: Usage, asked: list[Question]) -> None:
        assert got.json["choices"][0]["message"]["content"] == '{"legs": 4}'
        assert '{"legs": 0}' in asked[0].body["messages"][-1]["content"]
        assert "response_format" not in asked[0].body
        assert (record.attempts, record.output_tokens) == (1, 3)

    of_loose(tmp_path, ['Here it is:\n```json\n{"legs": 4}\n```'], {**HI, "response_format": STRICT}, check)


def test_an_answer_that_does_not_hold_is_asked_for_again(tmp_path: Path):
    """The model sees what is wrong; both calls are in the record and in the charge."""

    def check(got, record: Usage, asked: list[Question]) -> None:
        assert got.json["choices"][0]["message"]["content"] == '{"legs": 4}'
        second = asked[1].body["messages"]
        assert second[-2] == {"role": "assistant", "content": '{"legs": "four"}'}
        assert "/legs" in second[-1]["content"]
        assert (record.input_tokens, record.output_tokens, record.charge_nanousd) == (14, 6, charge(14, 6))
        assert [part.attempt for part in record.parts] == [1, 2]
        assert got.json["usage"]["completion_tokens"] == 6

    of_loose(tmp_path, ['{"legs": "four"}', '{"legs": 4}'], {**HI, "response_format": STRICT}, check)


def test_a_model_that_never_holds_is_said_to(tmp_path: Path):
    """Three tries, an honest error, and no charge."""

    def check(got, record: Usage, asked: list[Question]) -> None:
        assert (got.status, got.json["error"]["code"]) == (502, "schema_not_met")
        assert got.headers["x-should-retry"] == "false"
        assert (record.outcome, record.charge_nanousd, len(record.parts)) == ("failed", 0, 3)

    of_loose(tmp_path, ["no", "never", "not at all"], {**HI, "response_format": STRICT}, check)


def test_a_checked_stream_begins_when_it_holds(tmp_path: Path):
    def check(got, record: Usage, asked: list[Question]) -> None:
        assert got.text == '{"legs": 4}'
        assert "stream" not in asked[0].body
        assert record.stream

    body = {**HI, "response_format": STRICT, "stream": True}
    of_loose(tmp_path, ["four", '{"legs": 4}'], body, check)


def test_responses_are_checked_alike(tmp_path: Path):
    def check(got, record: Usage, asked: list[Question]) -> None:
        assert got.json["output"][0]["content"][0]["text"] == '{"legs": 4}'
        assert got.json["id"] == "resp_" + record.request.removeprefix("req_")
        assert got.json["usage"]["output_tokens"] == 6

    body = {"model": "m", "input": "A dog.", "text": {"format": {"type": "json_schema", "name": "a", "schema": SCHEMA}}}
    of_loose(tmp_path, ["four", '{"legs": 4}'], body, check, "/v1/responses")


def test_messages_are_checked_alike(tmp_path: Path):
    def check(got, record: Usage, asked: list[Question]) -> None:
        assert got.json["content"] == [{"type": "text", "text": '{"legs": 4}'}]
        assert got.json["usage"]["output_tokens"] == record.output_tokens == 6

    form = {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}
    body = {"model": "m", "messages": HI["messages"], "max_tokens": 16, **form}
    of_loose(tmp_path, ["four", '{"legs": 4}'], body, check, "/v1/messages")


@pytest.mark.parametrize(
    "field", [{"response_format": STRICT}, {"n": 2}, {"tools": [{"type": "function", "function": {"name": "f"}}]}]
)
def test_a_model_that_only_reads_refuses_by_name(tmp_path: Path, field: dict):
    async def test(here: World, a: StubUpstream, b: StubUpstream) -> None:
        got = await here.ask({**HI, **field})
        assert (got.status, got.json["error"]["code"]) == (400, "unsupported_parameter")
        assert got.json["error"]["param"] in field
        assert a.asked == b.asked == []

    reader = Ability(dialect="headrace", json_schema=False, n=False, generates=False)
    of_two(tmp_path, telling, test, ability=reader)


def test_tools_work_where_not_even_schemas_do(tmp_path: Path):
    """The emulated call is checked as any form is."""

    def check(got, record: Usage, asked: list[Question]) -> None:
        (call,) = got.json["choices"][0]["message"]["tool_calls"]
        assert json.loads(call["function"]["arguments"]) == {"city": "Paris"}
        assert len(record.parts) == 2

    city = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tool = {"type": "function", "function": {"name": "weather", "parameters": city}}
    texts = ['{"name": "wether", "arguments": {}}', '{"name": "weather", "arguments": {"city": "Paris"}}']
    of_loose(tmp_path, texts, {**HI, "tools": [tool]}, check)
