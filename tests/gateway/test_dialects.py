"""The Responses and Messages APIs at the door: answers, streams that break, refusals and counts, each in its own words."""

import json
from pathlib import Path

import pytest

from headrace.gateway import exchange
from headrace.specs.catalog import Limits
from tests.gateway import stub
from tests.gateway.stub import STREAM_HEAD, StubUpstream, framed, words
from tests.gateway.test_exchange import of_one
from tests.gateway.world import KEY, World, get, model, post, run, world
from tests.wire.bodies import events

HI = [{"role": "user", "content": "Hi"}]
RESPONSES, MESSAGES = "/v1/responses", "/v1/messages"
ASK = {
    RESPONSES: {"model": "m", "input": "Hi", "max_output_tokens": 16},
    MESSAGES: {"model": "m", "messages": HI, "max_tokens": 16},
}


def test_whole_answers_and_their_records(tmp_path: Path):
    """Named after their requests, metered and priced like chat."""

    async def check(here: World, up: StubUpstream) -> None:
        got = await here.ask(ASK[RESPONSES], RESPONSES)
        assert got.json["output"][0]["content"][0]["text"] == "Paris"
        assert got.json["id"] == got.headers["x-request-id"].replace("req_", "resp_")
        said = await here.ask(ASK[MESSAGES], MESSAGES)
        assert said.json["content"] == [{"type": "text", "text": "Paris"}]
        assert said.headers["request-id"] == said.headers["x-request-id"]
        assert [question.target for question in up.asked] == ["/v1/chat/completions"] * 2
        assert [(u.outcome, u.input_tokens, u.output_tokens) for u in here.usages()] == [("finished", 7, 1)] * 2
        for answer in (got, said):
            assert float(answer.headers["x-headrace-cost"]) > 0

    of_one(tmp_path, stub.truthful, check)


def test_streams_tell_what_they_cost(tmp_path: Path):
    """In the usage at their end, without being asked to."""

    async def check(here: World, _: StubUpstream) -> None:
        got = events((await here.ask({**ASK[RESPONSES], "stream": True}, RESPONSES)).body)
        assert got[-1][0] == "response.completed"
        usage = got[-1][1]["response"]["usage"]
        assert (usage["input_tokens"], usage["output_tokens"]) == (7, 4)
        said = events((await here.ask({**ASK[MESSAGES], "stream": True}, MESSAGES)).body)
        assert said[-2][1]["usage"]["headrace"] == usage["headrace"]
        assert float(usage["headrace"]["cost"]) > 0
        assert [u.charge_nanousd for u in here.usages()] == [7 * 20 + 4 * 80] * 2

    of_one(tmp_path, stub.truthful, check)


def test_a_stream_that_breaks_ends_in_the_words_of_its_api(tmp_path: Path):
    """What was said before stays."""

    async def check(here: World, _: StubUpstream) -> None:
        name, data = events((await here.ask({**ASK[RESPONSES], "stream": True}, RESPONSES)).body)[-1]
        assert (name, data["response"]["status"]) == ("response.failed", "failed")
        assert data["response"]["output"][0]["content"][0]["text"] == "Pa"
        name, data = events((await here.ask({**ASK[MESSAGES], "stream": True}, MESSAGES)).body)[-1]
        assert (name, data["error"]["code"]) == ("error", "upstream_failed")
        assert [u.outcome for u in here.usages()] == ["failed"] * 2

    of_one(tmp_path, stub.dying(STREAM_HEAD, framed(words("Pa")[0] + words("Pa")[1])), check)


def test_refusals_of_messages_are_anthropics(tmp_path: Path):
    """An unknown key, an unknown model, a bad field, a wrong method, a limit: all name the request."""

    async def check(here: World, _: StubUpstream) -> None:
        body = ASK[MESSAGES]
        for sent, status, kind in (
            (post(body, MESSAGES, "hr-nobody"), 401, "authentication_error"),
            (post({**body, "model": "none"}, MESSAGES), 404, "not_found_error"),
            (post({**body, "max_tokens": 0}, MESSAGES), 400, "invalid_request_error"),
            (post(b"{", MESSAGES), 400, "invalid_request_error"),
            (get(MESSAGES), 405, "invalid_request_error"),
            (post(body, MESSAGES), 200, ""),
            (post(body, MESSAGES), 429, "rate_limit_error"),
        ):
            got = await here.raw(sent)
            assert got.status == status, got.body
            assert got.headers["request-id"] == got.headers["x-request-id"]
            if kind:
                assert (got.json["type"], got.json["error"]["type"]) == ("error", kind)
                assert got.json["request_id"] == got.headers["request-id"]
        assert (await here.raw(post({}, RESPONSES))).json["error"]["param"] == "model"

    of_one(tmp_path, stub.truthful, check, limits=Limits(requests_per_minute=1))


def test_a_key_may_come_as_anthropics_clients_send_it(tmp_path: Path):
    async def check(here: World, _: StubUpstream) -> None:
        data = json.dumps(ASK[MESSAGES]).encode()
        head = f"POST {MESSAGES} HTTP/1.1\r\nhost: x\r\nx-api-key: {KEY}\r\nanthropic-version: 2023-06-01\r\n"
        got = await here.raw(f"{head}content-length: {len(data)}\r\n\r\n".encode() + data)
        assert got.status == 200

    of_one(tmp_path, stub.truthful, check)


def test_counting_asks_the_tokenizer_of_a_replica_and_runs_nothing(tmp_path: Path):
    """And says what the count rests on; without a tokenizer it is the estimate. Nobody is charged."""

    async def tokenizes(question: stub.Question, writer) -> None:
        writer.write(stub.whole(b'{"count": 23}') if question.target == "/tokenize" else stub.whole(b"", 404))

    async def check(here: World, up: StubUpstream) -> None:
        asked = {path: {k: v for k, v in body.items() if not k.startswith("max_")} for path, body in ASK.items()}
        got = await here.ask(asked[RESPONSES], RESPONSES + "/input_tokens")
        assert got.json == {"object": "response.input_tokens", "input_tokens": 23}
        assert got.headers["x-headrace-basis"] == "tokenizer"
        said = await here.ask(asked[MESSAGES], MESSAGES + "/count_tokens")
        assert said.json == {"input_tokens": 23}
        assert {question.target for question in up.asked} == {"/tokenize"}
        here.give([])
        again = await here.ask(asked[MESSAGES], MESSAGES + "/count_tokens")
        assert again.headers["x-headrace-basis"] == "estimate"
        assert again.json["input_tokens"] > 0
        assert here.entries() == []

    of_one(tmp_path, tokenizes, check)


def test_who_waits_in_a_stream_is_told_of_the_end_in_its_own_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A comment has gone out, so the error is an event, and the only one."""
    monkeypatch.setattr(exchange, "FIRST_COMMENT_US", 0)

    async def work() -> None:
        async with world(tmp_path, [], models=[model(start_timeout_us=400_000)]) as here:
            for path, place in ((RESPONSES, ("code",)), (MESSAGES, ("error", "code"))):
                got = await here.ask({**ASK[path], "stream": True}, path)
                comment, rest = got.body.split(b"\n\n", 1)
                assert comment == b": waiting for m"
                ((name, data),) = [told for told in events(rest) if told[0]]
                for step in place:
                    data = data[step]
                assert (name, data) == ("error", "start_timeout")

    run(work)


def test_nobody_gives_a_stored_response_the_label_of_the_runners_work(tmp_path: Path):
    """What the runner sends is believed, so what is passed to it is not."""

    async def check(here: World, up: StubUpstream) -> None:
        for label in ("run_1/answer", "resp_1/1"):
            got = await here.ask({**ASK[RESPONSES], "store": True}, RESPONSES, f"x-headrace-label: {label}")
            assert (got.status, got.json["error"]["param"]) == (400, "x-headrace-label")
        assert up.asked == []

    of_one(tmp_path, stub.truthful, check)
