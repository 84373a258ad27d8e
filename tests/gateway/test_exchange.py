"""One request's life, with a real worker, real sockets, a real journal, and upstreams that may lie."""

import asyncio
import json
import os
import socket
from pathlib import Path

import pytest

from headrace.gateway import client, exchange, patience
from headrace.gateway.worker import SWEEP_S
from tests.gateway import stub
from tests.gateway.stub import DONE, END, STREAM_HEAD, StubUpstream, framed, piece, usage, whole, words
from tests.gateway.world import HI, World, model, post, replica, run, until, world

STREAM = {**HI, "stream": True}


def of_one(folder: Path, behave: stub.Behaviour, check, **more: object) -> None:
    """A world with one replica that behaves so."""

    async def work() -> None:
        async with StubUpstream(folder / "up", behave) as up, world(folder, [replica(0, up)], **more) as here:
            await check(here, up)

    run(work)


def of_two(folder: Path, first: stub.Behaviour, second: stub.Behaviour, check) -> None:
    """A world with two replicas; the request goes to either first."""

    async def work() -> None:
        ups = StubUpstream(folder / "a", first), StubUpstream(folder / "b", second)
        async with ups[0] as a, ups[1] as b, world(folder, [replica(0, a), replica(1, b)]) as here:
            await check(here, a, b)

    run(work)


def test_a_whole_answer(tmp_path: Path):
    """The engine's words, the client's model name, the headers, and one record with the engine's counts."""

    async def check(here: World, up: StubUpstream) -> None:
        got = await here.ask(HI)
        assert got.status == 200
        assert got.json["choices"][0]["message"]["content"] == "Paris"
        assert got.json["model"] == "m"
        assert got.headers["x-request-id"].startswith("req_")
        assert got.headers["x-headrace-replica"] == "r0"
        assert got.headers["x-headrace-model-version"] == "v1"
        assert int(got.headers["openai-processing-ms"]) >= int(got.headers["x-headrace-queue-ms"]) >= 0
        assert up.asked[0].body["model"] == "up"
        assert "authorization" not in up.asked[0].headers
        record = await here.usage()
        assert (record.outcome, record.status, record.replica) == ("finished", 200, "r0")
        assert (record.input_tokens, record.output_tokens, record.counted) == (7, 1, "engine")
        assert record.request == got.headers["x-request-id"]
        assert 0 < record.busy_us <= record.ended_us - record.arrived_us

    of_one(tmp_path, stub.truthful, check)


def test_a_stream_and_its_record(tmp_path: Path):
    """All chunks, no usage unless asked, `[DONE]` last; the record is on disk before `[DONE]` arrives."""

    async def check(here: World, _: StubUpstream) -> None:
        got = await here.ask(STREAM)
        assert [record.output_tokens for record in here.usages()] == [4]
        assert got.text == "Paris"
        assert got.events[-1] == "data: [DONE]"
        assert '"usage"' not in got.body.decode()
        assert got.headers["x-headrace-replica"] == "r0"
        assert got.headers["content-type"].startswith("text/event-stream")
        assert (await here.usage()).events == 4

    of_one(tmp_path, stub.truthful, check)


def test_the_first_token_of_a_stream_is_told_to_who_decides(tmp_path: Path):
    """That is how it knows what prompts take and how many were late; of a whole answer nobody sees one."""

    async def check(here: World, _: StubUpstream) -> None:
        await here.ask(STREAM)
        await here.ask(HI)
        (found,) = here.worker.dispatch.demand(here.worker.clock.monotonic_us())
        assert (found.begun, found.late) == (1, 0)

    of_one(tmp_path, stub.truthful, check, models=[model(ttft_us=60_000_000)])


def test_usage_in_a_stream_comes_when_asked_for(tmp_path: Path):
    """One chunk with no choices, before `[DONE]`."""

    async def check(here: World, _: StubUpstream) -> None:
        got = await here.ask({**STREAM, "stream_options": {"include_usage": True}})
        chunk = json.loads(got.events[-2][6:])
        assert (chunk["choices"], chunk["usage"]["completion_tokens"]) == ([], 4)

    of_one(tmp_path, stub.truthful, check)


def test_the_first_event_arrives_before_the_last_is_made(tmp_path: Path):
    """Nothing is held back that could be sent."""

    async def check(here: World, _: StubUpstream) -> None:
        line = await here.line()
        line.send(post(STREAM))
        await line.head()
        first = await line.chunk()
        assert b"assistant" in first
        go.set()
        rest = b"".join([data async for data in _chunks(line)])
        assert rest.endswith(DONE)
        line.close()

    go = asyncio.Event()

    async def paced(_: stub.Question, writer: asyncio.StreamWriter) -> None:
        events = words("Paris")
        writer.write(STREAM_HEAD + framed(events[0]))
        await go.wait()
        writer.write(b"".join(map(framed, [*events[1:], usage(3), DONE])) + END)

    of_one(tmp_path, paced, check)


async def _chunks(line):
    while data := await line.chunk():
        yield data


def test_a_connection_to_a_replica_is_used_again(tmp_path: Path):
    """Ten requests, streamed and not, one connection."""

    async def check(here: World, up: StubUpstream) -> None:
        line = await here.line()
        for number in range(10):
            line.send(post(STREAM if number % 2 else HI))
            assert (await line.answer()).status == 200
        line.close()
        assert (len(up.asked), up.connections) == (10, 1)

    of_one(tmp_path, stub.truthful, check)


def test_requests_sent_ahead_are_answered_in_order(tmp_path: Path):
    """Pipelining: one at a time, none lost."""

    async def check(here: World, up: StubUpstream) -> None:
        line = await here.line()
        line.send(
            b"".join(post({**HI, "user": f"u{n}"}) for n in range(20)) + b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
        )
        answers = [await line.answer() for _ in range(21)]
        assert [answer.status for answer in answers] == [200] * 21
        assert answers[-1].json == {"status": "ok"}
        line.close()
        assert len(up.asked) == 20

    of_one(tmp_path, stub.truthful, check)


# --- faults before anything was sent -----------------------------------------------------------------------------

BAD_STARTS = {
    "dies before it answers": stub.dying(),
    "dies within its head": stub.dying(b"HTTP/1.1 200 OK\r\ncontent-"),
    "dies within its body": stub.dying(whole(stub.answer())[:-5]),
    "is not HTTP": stub.saying(b"hello\r\n\r\n"),
    "has an endless head": stub.saying(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 10_000),
    "has two lengths": stub.saying(whole(stub.answer(), more="content-length: 3\r\n")),
    "has a signed length": stub.saying(b"HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\n{}"),
    "has a length beside chunks": stub.saying(whole(b"{}", more="transfer-encoding: chunked\r\n")),
    "has a bad chunk size": stub.saying(STREAM_HEAD + b"-5\r\nabcde\r\n"),
    "has a chunk longer than it says": stub.saying(STREAM_HEAD + b"1\r\nabc\r\n"),
    "sends more than it said": stub.saying(whole(stub.answer()) + b"x"),
    "answers 500": stub.saying(whole(b'{"error":{"message":"secret"}}', 500)),
    "answers 503": stub.saying(whole(b"{}", 503)),
    "answers 200 with an error": stub.saying(whole(b'{"error":{"message":"secret"}}')),
    "answers 200 with garbage": stub.saying(whole(b"\xff\xfe")),
    "streams an error at once": stub.saying(STREAM_HEAD + framed(b'data: {"error":{"message":"secret"}}\n\n')),
    "streams garbage at once": stub.saying(STREAM_HEAD + framed(b"data: \xff\n\n")),
    "streams an endless line": stub.saying(STREAM_HEAD + framed(b"data: " + b"x" * (3 << 20))),
    "ends a stream at once": stub.saying(STREAM_HEAD + END),
}  # fmt: skip


@pytest.mark.parametrize("how", BAD_STARTS)
def test_a_request_goes_elsewhere_when_nothing_was_sent(tmp_path: Path, how: str):
    """Whatever the first replica does wrong, the second one answers, streamed or not."""
    streams = "stream" in how

    async def check(here: World, a: StubUpstream, b: StubUpstream) -> None:
        for _ in range(2):  # whichever comes first, one of the two requests meets the bad one first
            got = await here.ask(STREAM if streams else HI)
            assert got.status == 200, got.body
            assert (got.text if streams else got.json["choices"][0]["message"]["content"]) == "Paris"
        assert len(a.asked) >= 1
        assert {record.outcome for record in here.usages()} == {"finished"}
        assert max(record.attempts for record in here.usages()) == 2

    of_two(tmp_path, BAD_STARTS[how], stub.truthful, check)


@pytest.mark.parametrize("how", BAD_STARTS)
def test_a_replica_that_fails_always_ends_in_an_error_of_ours(tmp_path: Path, monkeypatch, how: str):
    """An error object of the catalogue, 500 to 504, without a word of the engine; one failed record."""

    async def check(here: World, a: StubUpstream, b: StubUpstream) -> None:
        got = await here.ask(STREAM if "stream" in how else HI)
        assert 500 <= got.status <= 504, got.body
        assert sorted(got.json["error"]) == ["code", "message", "param", "type"]
        assert got.json["error"]["code"] in ("upstream_failed", "engine_crash")
        assert b"secret" not in got.body
        record = await here.usage()
        assert (record.outcome, record.attempts, record.status) == ("failed", 2, got.status)

    of_two(tmp_path, BAD_STARTS[how], BAD_STARTS[how], check)


def test_a_connection_that_was_closed_while_idle_is_no_fault(tmp_path: Path):
    """The replica closed it unseen; the request is asked again over a new one, as its first attempt."""

    async def check(here: World, up: StubUpstream) -> None:
        assert (await here.ask(HI)).status == 200
        (pool,) = here.worker.directory.pools.values()
        stale = pool.take()
        assert stale is not None
        pool.give(stale)
        with socket.socket(fileno=os.dup(stale.transport.get_extra_info("socket").fileno())) as raw:
            raw.shutdown(socket.SHUT_RDWR)  # not seen before the loop comes round
        assert (await here.ask(HI)).status == 200
        await until(lambda: len(here.usages()) == 2)
        assert [record.attempts for record in here.usages()] == [1, 1]

    of_one(tmp_path, stub.truthful, check)


def test_a_replica_that_cannot_be_reached_is_passed_over(tmp_path: Path):
    """Nothing listens at its address: the other one answers, and control hears of it."""

    async def check(here: World, a: StubUpstream, b: StubUpstream) -> None:
        await a.die()
        for _ in range(4):
            assert (await here.ask(HI)).status == 200
        assert "r0/i0" in here.worker._report().faults

    of_two(tmp_path, stub.truthful, stub.truthful, check)


def test_an_engines_refusal_is_told_in_our_words(tmp_path: Path):
    """400 about the context: the figures, not the text; no second attempt."""

    async def check(here: World, up: StubUpstream) -> None:
        got = await here.ask(HI)
        assert (got.status, got.json["error"]["code"]) == (400, "context_length_exceeded")
        assert "9000" in got.json["error"]["message"]
        assert "secret" not in got.body.decode()
        assert len(up.asked) == 1
        assert (await here.usage()).outcome == "refused"  # nothing was done

    body = b'{"error":{"code":400,"message":"secret: exceeds context length","n_prompt_tokens":9000,"n_ctx":4096}}'
    of_one(tmp_path, stub.saying(whole(body, 400)), check)


# --- faults in the middle ----------------------------------------------------------------------------------------

BAD_ENDS = {
    "dies": stub.dying(STREAM_HEAD, *map(framed, words("Par")[:2])),
    "ends without [DONE]": stub.saying(STREAM_HEAD, *map(framed, words("Par")[:2]), END),
    "sends an error": stub.saying(
        STREAM_HEAD, *map(framed, [*words("Par")[:2], b'data: {"error":{"message":"secret"}}\n\n']), END
    ),
    "sends invalid UTF-8": stub.saying(STREAM_HEAD, *map(framed, [*words("Par")[:2], b'data: {"x":"\xff"}\n\n'])),
    "sends an endless line": stub.saying(
        STREAM_HEAD, *map(framed, [*words("Par")[:2], *[b"data: " + b"x" * (1 << 20)] * 3])
    ),
    "breaks its framing": stub.saying(STREAM_HEAD, *map(framed, words("Par")[:2]), b"zz\r\n"),
}  # fmt: skip


@pytest.mark.parametrize("how", BAD_ENDS)
def test_a_stream_that_breaks_ends_with_an_error_event(tmp_path: Path, how: str):
    """What came, then one error event of ours, no `[DONE]`, and the connection ends; one failed record."""

    async def check(here: World, up: StubUpstream) -> None:
        line = await here.line()
        line.send(post(STREAM))
        got = await asyncio.wait_for(line.answer(), 5)
        assert got.status == 200
        *before, last = got.events
        assert len(before) == 2
        assert json.loads(last[6:])["error"]["code"] == "upstream_failed"
        assert b"secret" not in got.body
        assert await line.closed()
        record = await here.usage()
        assert (record.outcome, record.events, record.status) == ("failed", 2, 502)
        assert len(up.asked) == 1

    of_one(tmp_path, BAD_ENDS[how], check)


def test_a_character_split_between_two_packets_is_whole(tmp_path: Path):
    """Split UTF-8 is nothing special to a reader of bytes."""
    event = 'data: {"id":"x","object":"o","created":1,"model":"up","choices":[{"index":0,"delta":{"content":"é€😀"}}]}\n\n'.encode()
    parts = [STREAM_HEAD, framed(words()[0])]
    parts += [framed(event[at : at + 1]) for at in range(len(event))]
    parts += [framed(words()[-1]), framed(usage(3)), framed(DONE), END]

    async def check(here: World, _: StubUpstream) -> None:
        assert (await here.ask(STREAM)).text == "é€😀"

    of_one(tmp_path, stub.saying(*parts), check)


@pytest.mark.parametrize("lie", [10**9, -3, 1 << 70])
def test_a_usage_that_cannot_be_is_not_believed(tmp_path: Path, lie: int):
    """The gateway counts itself, and says so in the record; the client gets the same figures."""

    async def check(here: World, _: StubUpstream) -> None:
        got = await here.ask({**STREAM, "stream_options": {"include_usage": True}})
        assert got.text == "Paris"
        record = await here.usage()
        assert (record.outcome, record.counted) == ("finished", "gateway")
        assert 0 <= record.output_tokens <= 16
        assert json.loads(got.events[-2][6:])["usage"]["completion_tokens"] == record.output_tokens

    parts = map(framed, [*words("Par", "is"), usage(lie), DONE])
    of_one(tmp_path, stub.saying(STREAM_HEAD, *parts, END), check)


def test_a_stream_without_usage_is_counted_here(tmp_path: Path):
    """Silence about usage is no reason to lose a record."""

    async def check(here: World, _: StubUpstream) -> None:
        assert (await here.ask(STREAM)).text == "Paris"
        record = await here.usage()
        assert (record.counted, record.outcome) == ("gateway", "finished")

    of_one(tmp_path, stub.saying(STREAM_HEAD, *map(framed, [*words("Par", "is"), DONE]), END), check)


def test_a_connection_whose_end_never_comes_is_closed(tmp_path: Path, monkeypatch):
    """`[DONE]` without the end of the framing: the answer is whole, the connection is not used again."""
    monkeypatch.setattr("headrace.gateway.upstream.END_S", 0.05)

    async def half(_: stub.Question, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + b"".join(map(framed, [*words("Paris"), usage(3), DONE])))
        await asyncio.Event().wait()

    async def check(here: World, up: StubUpstream) -> None:
        assert (await here.ask(STREAM)).text == "Paris"
        await asyncio.wait_for(up.gone.wait(), 5)

    of_one(tmp_path, half, check)


# --- time ---------------------------------------------------------------------------------------------------------


def test_a_silent_replica_is_given_up(tmp_path: Path, monkeypatch):
    """No first event in time: the connection is closed, and the request goes elsewhere."""
    monkeypatch.setattr(patience, "FIRST_EVENT_US", 50_000)
    monkeypatch.setattr(patience, "PROMPT_TOKEN_US", 0)

    async def check(here: World, a: StubUpstream, b: StubUpstream) -> None:
        for _ in range(2):
            assert (await here.ask(STREAM)).text == "Paris"
        await asyncio.wait_for(a.gone.wait(), 5)

    of_two(tmp_path, stub.silent, stub.truthful, check)


def test_a_long_prompt_is_given_time_to_be_read(tmp_path: Path, monkeypatch):
    """An engine that is silent while it reads is not taken for a dead one; a short prompt would have been given up."""
    monkeypatch.setattr(patience, "FIRST_EVENT_US", 0)

    async def reads(question: stub.Question, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(2.5 * SWEEP_S)
        await stub.truthful(question, writer)

    async def check(here: World, up: StubUpstream) -> None:
        long = [{"role": "user", "content": "word " * 2_000}]
        assert (await here.ask({**STREAM, "messages": long})).text == "Paris"
        assert (await here.ask(STREAM)).status == 502
        assert len(up.asked) > 2

    of_one(tmp_path, reads, check)


def test_a_stream_that_stalls_ends_with_an_error_event(tmp_path: Path, monkeypatch):
    """Nothing between two events for too long."""
    monkeypatch.setattr(patience, "BETWEEN_US", 50_000)

    async def stalls(_: stub.Question, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + b"".join(map(framed, words("Par")[:2])))
        await asyncio.Event().wait()

    async def check(here: World, up: StubUpstream) -> None:
        got = await here.ask(STREAM)
        assert json.loads(got.events[-1][6:])["error"]["code"] == "upstream_failed"
        await asyncio.wait_for(up.gone.wait(), 5)

    of_one(tmp_path, stalls, check)


def test_a_request_waits_for_a_replica_to_wake(tmp_path: Path, monkeypatch):
    """Held with comments while no replica is there, then answered; the record says it was cold."""
    monkeypatch.setattr(exchange, "FIRST_COMMENT_US", 10_000)
    monkeypatch.setattr(exchange, "COMMENT_US", 10_000)

    async def work() -> None:
        async with StubUpstream(tmp_path / "up", stub.truthful) as up, world(tmp_path, []) as here:
            line = await here.line()
            line.send(post(STREAM))
            plain = asyncio.ensure_future(here.ask(HI))
            assert (await line.head())[0] == 200
            assert (await line.chunk()).startswith(b": ")
            demand = here.worker._report().demand[0]
            assert (demand.queued, demand.model) == (2, "m")
            here.give([replica(0, up)])
            rest = b"".join([data async for data in _chunks(line)])
            assert rest.endswith(DONE)
            assert (await plain).status == 200
            line.close()
            await until(lambda: len(here.usages()) == 2)
            assert [record.cold for record in here.usages()] == [True, True]
            assert min(record.queue_us for record in here.usages()) > 0

    run(work)


def test_a_model_that_does_not_start_is_told_truthfully(tmp_path: Path, monkeypatch):
    """Whole: 503 with Retry-After. Streamed, after comments: an error event."""
    monkeypatch.setattr(exchange, "FIRST_COMMENT_US", 0)

    async def work() -> None:
        async with world(tmp_path, [], models=[model(start_timeout_us=400_000)]) as here:
            plain, streamed = await asyncio.gather(here.ask(HI), here.ask(STREAM))
            assert plain.status == 503
            assert int(plain.headers["retry-after"]) >= 1
            assert plain.json["error"]["code"] == "start_timeout"
            assert streamed.status == 200
            assert json.loads(streamed.events[-1][6:])["error"]["code"] == plain.json["error"]["code"]

    run(work)


def test_a_model_with_a_fault_is_refused_at_once(tmp_path: Path):
    """503 that says why; the record is a refusal."""

    async def work() -> None:
        async with world(tmp_path, [], models=[model(fault="its weights are broken")]) as here:
            got = await here.ask(HI)
            assert (got.status, got.json["error"]["code"]) == (503, "model_unavailable")
            assert "weights" in got.json["error"]["message"]
            assert (await here.usage()).outcome == "refused"

    run(work)


def test_a_full_queue_refuses(tmp_path: Path):
    """Slots and queue full: 503 with the time to come back."""

    async def check(here: World, _: StubUpstream) -> None:
        here.give([replica(0, _, slots=1)], models=[model(queue_max=1)])
        lines = [await here.line() for _ in range(2)]
        for number, line in enumerate(lines):
            line.send(post(HI))
            await until(lambda n=number: len(here.worker.exchanges) == n + 1)
        got = await here.ask(HI)
        assert (got.status, got.json["error"]["code"]) == (503, "overloaded")
        assert int(got.headers["retry-after"]) >= 1
        for line in lines:
            line.close()

    of_one(tmp_path, stub.silent, check)


# --- clients ------------------------------------------------------------------------------------------------------


def test_a_client_that_leaves_frees_the_engine(tmp_path: Path):
    """In the middle of a stream: the engine's connection is cut, the record says cancelled at k."""

    async def endless(_: stub.Question, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + framed(words()[0]))
        for _ in range(3):
            writer.write(framed(piece({"content": "x"})))
        await asyncio.Event().wait()

    async def check(here: World, up: StubUpstream) -> None:
        line = await here.line()
        line.send(post(STREAM))
        await line.head()
        seen = b""
        while seen.count(b"data: ") < 4:
            seen += await line.chunk()
        line.close()
        await asyncio.wait_for(up.gone.wait(), 1)
        record = await here.usage()
        assert (record.outcome, record.events, record.output_tokens) == ("cancelled", 4, 4)

    of_one(tmp_path, endless, check)


@pytest.mark.parametrize("body", [HI, STREAM])
def test_a_client_that_leaves_before_the_answer_frees_the_engine(tmp_path: Path, body: dict):
    """Nothing was sent yet: cut all the same."""

    async def check(here: World, up: StubUpstream) -> None:
        line = await here.line()
        line.send(post(body))
        await until(lambda: up.asked)
        line.close()
        await asyncio.wait_for(up.gone.wait(), 1)
        assert (await here.usage()).outcome == "cancelled"

    of_one(tmp_path, stub.silent, check)


def test_a_client_that_leaves_while_held_leaves_the_queue(tmp_path: Path):
    """Cancelled with nothing used."""

    async def work() -> None:
        async with world(tmp_path, []) as here:
            line = await here.line()
            line.send(post(STREAM))
            await until(lambda: here.worker.dispatch.held)
            line.close()
            record = await here.usage()
            assert (record.outcome, record.attempts, record.input_tokens) == ("cancelled", 0, 0)
            assert here.worker.dispatch.held == 0

    run(work)


def test_a_client_that_does_not_read_costs_little_and_is_cut(tmp_path: Path, monkeypatch):
    """The engine is not read on, and after the stall the client is aborted, and its record written."""
    monkeypatch.setattr(client, "WRITE_STALL_S", 0.3)
    sent = 0

    async def flood(_: stub.Question, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(STREAM_HEAD + framed(words()[0]))
        event = framed(piece({"content": "x" * 4000}))
        while True:
            writer.write(event)
            await writer.drain()
            sent += len(event)

    async def check(here: World, up: StubUpstream) -> None:
        line = await here.line()
        line.writer.transport.pause_reading()
        line.send(post(STREAM))
        worst = 0
        while not here.usages():
            held = [c.transport.get_write_buffer_size() for c in here.worker.connections]
            worst = max([worst, *held])
            await asyncio.sleep(0.005)
        assert worst < 1 << 20
        assert sent < 32 << 20
        assert (await here.usage()).outcome == "cancelled"
        await asyncio.wait_for(up.gone.wait(), 1)
        line.close()

    of_one(tmp_path, flood, check)


def test_a_slow_reader_gets_everything(tmp_path: Path):
    """Paused and resumed many times, not a byte is lost."""
    events = [words()[0], *[piece({"content": f"{n:06d}" * 100}) for n in range(3000)], words()[-1], usage(3002), DONE]

    async def check(here: World, _: StubUpstream) -> None:
        line = await here.line()
        line.send(post({**STREAM, "max_tokens": 4000}))
        await asyncio.sleep(0.05)
        got = await asyncio.wait_for(line.answer(), 20)
        assert got.text == "".join(f"{n:06d}" * 100 for n in range(3000))
        assert got.events[-1] == "data: [DONE]"
        line.close()

    of_one(tmp_path, stub.saying(STREAM_HEAD, *map(framed, events), END), check)


# --- records ------------------------------------------------------------------------------------------------------


class FullDisk:
    """A journal that cannot write until it can."""

    def __init__(self, real) -> None:
        self.real = real
        self.full = True

    def append(self, entry, committed=None) -> None:
        if not self.full:
            self.real.append(entry, committed)
        elif committed is not None:
            asyncio.get_running_loop().call_soon(committed, False)


def test_nothing_is_acknowledged_that_is_not_on_disk(tmp_path: Path):
    """503 instead of the answer, an error event instead of `[DONE]`; then 503 before any engine; then it heals."""

    async def check(here: World, up: StubUpstream) -> None:
        full = FullDisk(here.worker.journal)
        here.worker.journal = full
        streamed = await here.ask(STREAM)
        assert json.loads(streamed.events[-1][6:])["error"]["code"] == "storage_unavailable"
        asked = len(up.asked)
        got = await here.ask(HI)
        assert (got.status, got.json["error"]["code"]) == (503, "storage_unavailable")
        assert len(up.asked) == asked
        full.full = False
        await here.ask(HI)  # tries the disk
        await until(lambda: here.worker._storage_ok)
        assert (await here.ask(HI)).status == 200

    of_one(tmp_path, stub.truthful, check)


def test_what_the_gateway_sends_is_what_was_declared(tmp_path: Path):
    """Only known fields reach an engine, with bounds filled in."""

    async def check(here: World, up: StubUpstream) -> None:
        await here.ask({**HI, "temperature": 0.5, "user": "me", "metadata": {"a": "b"}})
        sent = up.asked[0].body
        assert sent["temperature"] == 0.5
        assert sent["max_tokens" if "max_tokens" in sent else "max_completion_tokens"] == 16
        assert "metadata" not in sent

    of_one(tmp_path, stub.truthful, check)
