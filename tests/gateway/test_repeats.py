"""Requests with an Idempotency-Key: one execution and one charge, however often they come."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from headrace.ports import repeat_name
from headrace.state.usage import Entry, Usage
from headrace.stores.repeats import FileRepeats
from tests.gateway import stub
from tests.gateway.stub import StubUpstream
from tests.gateway.world import CHAT, HI, PEPPER, post, replica, run, until, world
from tests.gateway.world import KEY as SECRET_KEY

KEY = "Idempotency-Key: order-7"


def test_a_hundred_at_once_are_done_once(tmp_path: Path):
    """One is served; while it is at work the others are told to come back, and then get the same answer."""

    async def work() -> None:
        async with StubUpstream(tmp_path / "a.sock", stub.truthful) as up, world(tmp_path, [replica(1, up)]) as cloud:
            answers = await asyncio.gather(*(cloud.ask(HI, "/v1/chat/completions", KEY) for _ in range(100)))
            assert {answer.status for answer in answers} <= {200, 409}
            assert len(cloud.usages()) == 1
            bodies = {answer.body for answer in answers if answer.status == 200}
            assert len(bodies) == 1
            again = await cloud.ask(HI, "/v1/chat/completions", KEY)
            assert (again.status, again.body) == (200, bodies.pop())
            assert again.headers["x-headrace-replayed"] == cloud.usages()[0].request
            assert len(cloud.usages()) == 1

    run(work)


def test_another_body_with_the_same_key_is_refused(tmp_path: Path):
    """422: a key names one request."""

    async def work() -> None:
        async with StubUpstream(tmp_path / "a.sock", stub.truthful) as up, world(tmp_path, [replica(1, up)]) as cloud:
            assert (await cloud.ask(HI, "/v1/chat/completions", KEY)).status == 200
            other = await cloud.ask({**HI, "max_tokens": 3}, "/v1/chat/completions", KEY)
            assert (other.status, other.json["error"]["param"]) == (422, "Idempotency-Key")

    run(work)


def test_what_was_refused_may_be_tried_again_with_its_key(tmp_path: Path):
    """A refusal is not an execution."""

    async def work() -> None:
        async with StubUpstream(tmp_path / "a.sock", stub.truthful) as up, world(tmp_path, [replica(1, up)]) as cloud:
            assert (await cloud.ask({**HI, "model": "none"}, "/v1/chat/completions", KEY)).status == 404
            assert (await cloud.ask(HI, "/v1/chat/completions", KEY)).status == 200

    run(work)


def test_a_stream_is_done_once_and_its_repetition_names_it(tmp_path: Path):
    """409 with the id of the request that was done; its text is not kept."""

    async def work() -> None:
        async with StubUpstream(tmp_path / "a.sock", stub.truthful) as up, world(tmp_path, [replica(1, up)]) as cloud:
            body = {**HI, "stream": True}
            assert (await cloud.ask(body, "/v1/chat/completions", KEY)).status == 200
            again = await cloud.ask(body, "/v1/chat/completions", KEY)
            assert again.status == 409
            assert cloud.usages()[0].request in again.json["error"]["message"]

    run(work)


def test_a_key_that_is_none_is_told(tmp_path: Path):
    """400 with the limit."""

    async def work() -> None:
        async with StubUpstream(tmp_path / "a.sock", stub.truthful) as up, world(tmp_path, [replica(1, up)]) as cloud:
            assert (await cloud.ask(HI, "/v1/chat/completions", "Idempotency-Key: " + "x" * 256)).status == 400

    run(work)


def test_an_answer_that_was_charged_is_kept_for_a_client_that_hung_up_before_it_was_sent(tmp_path: Path):
    """Between the charge and its record on the disk: who asks again gets the answer, and pays nothing more."""

    async def work() -> None:
        async with StubUpstream(tmp_path / "a.sock", stub.truthful) as up, world(tmp_path, [replica(1, up)]) as cloud:
            append, waiting = cloud.worker.journal.append, []

            def later(entry: Entry, done: Callable[[bool], None] | None = None) -> None:
                if isinstance(entry, Usage):
                    waiting.append((entry, done))
                else:
                    append(entry, done)

            cloud.worker.journal.append = later
            line = await cloud.line()
            line.send(post(HI, CHAT, SECRET_KEY, KEY))
            await until(lambda: waiting)
            line.close()
            await until(lambda: not cloud.worker.connections)
            cloud.worker.journal.append = append
            entry, committed = waiting.pop()
            written = asyncio.Event()
            append(entry, lambda done: (committed(done), written.set()))
            await written.wait()
            again = await cloud.ask(HI, CHAT, KEY)
            assert (again.status, again.headers["x-headrace-replayed"]) == (200, cloud.usages()[0].request)
            assert len(cloud.usages()) == len(up.asked) == 1

    run(work)


def test_work_that_outlives_its_client_is_finished_and_paid_once(tmp_path: Path):
    """With `finish` a client that hangs up finds its answer later; without it the work is called off."""
    wish = "x-headrace-on-disconnect: finish"

    async def work() -> None:
        go = asyncio.Event()

        async def slowly(question: stub.Question, writer: asyncio.StreamWriter) -> None:
            await go.wait()
            await stub.truthful(question, writer)

        async with StubUpstream(tmp_path / "a.sock", slowly) as up, world(tmp_path, [replica(1, up)]) as cloud:
            line = await cloud.line()
            line.send(post(HI, CHAT, SECRET_KEY, KEY, wish))
            await until(lambda: up.asked)
            line.close()
            await until(lambda: not cloud.worker.connections)
            assert (await cloud.ask(HI, CHAT, KEY, wish)).status == 409
            go.set()
            assert (await cloud.usage()).outcome == "finished"
            again = await cloud.ask(HI, CHAT, KEY, wish)
            assert (again.status, again.headers["x-headrace-replayed"]) == (200, cloud.usages()[0].request)
            assert len(cloud.usages()) == len(up.asked) == 1
            refused = await cloud.ask(HI, CHAT, wish)
            assert (refused.status, refused.json["error"]["param"]) == (400, "x-headrace-on-disconnect")

    run(work)


def test_an_answer_is_kept_before_it_is_charged(tmp_path: Path):
    """A gateway that is killed between the two has charged nothing, and its successor has the answer."""

    async def work() -> None:
        async with StubUpstream(tmp_path / "a.sock", stub.truthful) as up, world(tmp_path, [replica(1, up)]) as cloud:
            append, waiting = cloud.worker.journal.append, []
            repeats = cloud.worker.settings.repeats
            successor = FileRepeats(repeats, PEPPER, "next", lambda epoch: epoch == "next")

            def later(entry: Entry, done: Callable[[bool], None] | None = None) -> None:
                if isinstance(entry, Usage):
                    (file,) = repeats.iterdir()  # it is there already
                    name = repeat_name("t", CHAT, KEY.partition(": ")[2])
                    assert successor._path(name) == file
                    known = successor.begin(name, "", "another", cloud.worker.clock.now_us())
                    waiting.append(known)
                append(entry, done)

            cloud.worker.journal.append = later
            answer = await cloud.ask(HI, CHAT, KEY)
            (known,) = waiting
            assert known is not None
            assert (known.done, known.body) == (True, answer.body)

    run(work)
