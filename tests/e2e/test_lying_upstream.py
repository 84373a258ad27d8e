"""A foreign server that lies: the client gets a right answer or a right error, the record is one, the gateway lives on."""

import asyncio
import contextlib
import http.client
import itertools
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from tests.e2e import upstream
from tests.e2e.cloud import Cloud, rss_kib, running
from tests.gateway import stub
from tests.gateway.stub import DONE, END, STREAM_HEAD, Behaviour, Question, StubUpstream, framed, piece, words

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

GROWTH_KIB_MAX = 48 << 10
PEAK_KIB_MAX = 400 << 10
TEXT = "Zürich, 東京, 🗼 and a flag 🇨🇭"
COUNTS = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
LIES: dict[str, Any] = {
    "absurdly large": {"prompt_tokens": 10**12, "completion_tokens": 10**15, "total_tokens": 10**12 + 10**15},
    "larger than was asked for": {"prompt_tokens": 7, "completion_tokens": 4000, "total_tokens": 4007},
    "more digits than a number has": 10**400,
    "negative": {"prompt_tokens": -7, "completion_tokens": -2, "total_tokens": -9},
    "at odds with itself": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 1},
    "of the wrong type": {"prompt_tokens": "7", "completion_tokens": [], "total_tokens": {}},
    "no object": "free",
}


class Got(NamedTuple):
    """What a client got; `cut` when the answer broke off."""

    status: int
    request: str
    body: bytes
    cut: bool

    @property
    def code(self) -> str:
        """Of the error: the answer's, or the stream's last event's."""
        last = self.events[-1] if self.body.startswith((b"data: ", b": ")) else self.body
        return str(json.loads(last)["error"]["code"])

    @property
    def events(self) -> list[bytes]:
        return [event[6:] for event in self.body.split(b"\n\n") if event.startswith(b"data: ")]

    @property
    def said(self) -> str:
        chunks = [json.loads(event) for event in self.events if event != b"[DONE]"]
        return "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c.get("choices"))


class Liar:
    """A cloud whose one model is served by the stub, which says what the test tells it to."""

    def __init__(self, cloud: Cloud, stub: StubUpstream) -> None:
        self.cloud = cloud
        self.stub = stub

    def ask(self, behave: Behaviour, *, stream: bool, **more: Any) -> Got:
        """One request, answered so."""
        self.stub.behave = behave
        body = {"model": "theirs", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 64, "stream": stream}
        line = http.client.HTTPConnection("127.0.0.1", self.cloud.port, timeout=20)
        headers = {"Authorization": f"Bearer {self.cloud.key}", "Content-Type": "application/json"}
        with contextlib.closing(line):
            line.request("POST", "/v1/chat/completions", json.dumps({**body, **more}), headers)
            answer = line.getresponse()
            try:
                data, cut = answer.read(), False
            except http.client.IncompleteRead as broken:
                data, cut = broken.partial, True
            return Got(answer.status, answer.headers["x-request-id"], data, cut)

    def record(self, got: Got) -> dict[str, Any]:
        """The one record of a request."""
        rows = self.cloud.get("/headrace/v1/usage?limit=1000")["usage"]
        (row,) = [row for row in rows if row["request"] == got.request]
        assert isinstance(row, dict)
        return row


@pytest.fixture(scope="module")
def liar(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("liars")
    with upstream.serving() as server, running(folder / "home", spec=upstream.spec(folder, server.url)) as cloud:
        liar = Liar(cloud, server)
        assert liar.ask(stub.truthful, stream=False).status == 200
        before = {pid: rss_kib(pid) for pid in cloud.pids("gateway")}
        yield liar
        assert liar.ask(stub.truthful, stream=True).said == "Paris"
        after = {pid: rss_kib(pid) for pid in cloud.pids("gateway")}
        assert after.keys() == before.keys(), "a gateway ended"
        assert max(after[pid] - before[pid] for pid in before) < GROWTH_KIB_MAX
        assert max(rss_kib(pid, "VmHWM") for pid in before) < PEAK_KIB_MAX
        rows = cloud.get("/headrace/v1/usage?limit=1000")["usage"]
        assert len({row["request"] for row in rows}) == len(rows)
        assert "Traceback" not in "".join(log.read_text() for log in (cloud.home / "logs").glob("gateway-*.log"))


# --- counts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("lie", LIES)
def test_wrong_counts_are_replaced_by_our_own(liar: Liar, lie: str, stream: bool):
    """The answer itself is right; what is shown and what is recorded is what the gateway saw."""
    if stream:
        usage = piece().replace(b'"choices":[]', b'"choices":[],"usage":' + json.dumps(LIES[lie]).encode())
        events = [*words("Par", "is"), usage, DONE]
        behave = stub.saying(STREAM_HEAD, *map(framed, events), END)
    else:
        behave = stub.saying(stub.whole(stub.answer("Paris", usage=LIES[lie])))
    more = {"stream_options": {"include_usage": True}} if stream else {}
    got = liar.ask(behave, stream=stream, **more)
    assert got.status == 200
    shown = json.loads(got.events[-2] if stream else got.body)
    assert (got.said if stream else shown["choices"][0]["message"]["content"]) == "Paris"
    record = liar.record(got)
    assert (record["outcome"], record["counted"]) == ("finished", "gateway")
    assert 0 < record["input_tokens"] < 100
    assert 0 < record["output_tokens"] <= 64
    assert shown["usage"]["prompt_tokens"] == record["input_tokens"]
    assert shown["usage"]["completion_tokens"] == record["output_tokens"]


# --- words --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_letters_split_over_packets_arrive_whole(liar: Liar, size: int):
    """However the bytes of one are torn apart, in chunks and packets of their own."""

    async def trickle(_: Question, writer) -> None:
        data = b"".join([*words(TEXT), piece(usage=COUNTS), DONE])
        escaped = json.dumps(TEXT).encode()
        assert escaped in data
        data = data.replace(escaped, json.dumps(TEXT, ensure_ascii=False).encode())
        writer.write(STREAM_HEAD)
        for at in range(0, len(data), size):
            writer.write(framed(data[at : at + size]))
            await writer.drain()
        writer.write(END)

    got = liar.ask(trickle, stream=True)
    assert got.said == TEXT
    assert got.events[-1] == b"[DONE]"
    assert liar.record(got)["outcome"] == "finished"


def endless(first: bytes, more: bytes) -> Behaviour:
    """Goes on until it is cut off."""

    async def pour(_: Question, writer) -> None:
        writer.write(first)
        for _ in itertools.count():
            writer.write(more)
            await writer.drain()

    return pour


OPEN_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n"
WHOLE = {
    "200 with an error": stub.saying(stub.whole(b'{"error": {"message": "secret", "code": 500}}')),
    "200 with a page": stub.saying(stub.whole(b"<html>secret</html>")),
    "200 with half an answer": stub.saying(stub.whole(stub.answer()[:-20])),
    "200 with nothing": stub.saying(stub.whole(b"")),
    "letters that are none": stub.saying(stub.whole(stub.answer().replace(b"Paris", b"\xff\xfe\xed\xa0"))),
    "50,000 brackets": stub.saying(stub.whole(b'{"choices":' + b"[" * 50_000)),
    "garbage": stub.saying(bytes(range(256)) * 256),
    "another protocol": stub.saying(b"220 mail.example.org ESMTP\r\n"),
    "a head without end": endless(b"HTTP/1.1 200 OK\r\nx-secret: ", b"a" * 4096),
    "an answer without end": endless(OPEN_HEAD, b" " * (1 << 18)),
    "two lengths": stub.saying(stub.whole(stub.answer(), more="content-length: 7\r\n")),
    "more than it said": stub.saying(stub.whole(stub.answer()) + b"secret"),
    "less than it said": stub.dying(stub.whole(stub.answer())[:-5]),
    "status 500": stub.saying(stub.whole(b"secret", status=500)),
    "status 999": stub.saying(stub.whole(b"secret", status=999)),
}


@pytest.mark.parametrize("lie", WHOLE)
def test_what_is_no_answer_is_an_error(liar: Liar, lie: str):
    """A server's fault, in OpenAI's form, without the server's own words; one record."""
    got = liar.ask(WHOLE[lie], stream=False)
    assert (got.status, got.code) in ((502, "upstream_failed"), (500, "engine_crash"))
    assert not got.cut
    record = liar.record(got)
    assert (record["outcome"], record["status"], record["code"]) == ("failed", got.status, got.code)
    assert (record["output_tokens"], record["attempts"]) == (0, 2)
    assert b"secret" not in got.body


BEGUN = [STREAM_HEAD, *map(framed, words("Par")[:2])]


def begun(then: Behaviour) -> Behaviour:
    """Two good events that reach the client, then what goes wrong."""

    async def say(question: Question, writer) -> None:
        await stub.saying(*BEGUN)(question, writer)
        await asyncio.sleep(0.05)  # so that they do not come in one packet with what follows
        await then(question, writer)

    return say


STREAMS = {
    "no end": begun(stub.saying(END)),
    "cut off": begun(stub.dying()),
    "an error instead of the end": begun(stub.saying(framed(b'data: {"error": {"message": "secret"}}\n\n'), END)),
    "a line without end": begun(endless(b"", framed(b"data: " + b"a" * 65536))),
    "an event that is none": begun(stub.saying(framed(b"data: secret\n\n" + DONE), END)),
    "letters that are none": begun(
        stub.saying(framed(piece({"content": "X"}).replace(b"X", b"\xff\xfe")), END),
    ),
    "a chunk that is none": begun(stub.saying(b"secret\r\n")),
    "garbage": begun(stub.saying(bytes(range(256)) * 256)),
}


@pytest.mark.parametrize("lie", STREAMS)
def test_a_stream_that_goes_wrong_ends_with_an_error(liar: Liar, lie: str):
    """What came before is kept; then one error event and no `[DONE]`, so that nobody takes it for an answer."""
    got = liar.ask(STREAMS[lie], stream=True)
    assert (got.status, got.code) == (200, "upstream_failed")
    assert b"[DONE]" not in got.body
    assert b"secret" not in got.body
    assert b'"Par"' in got.body
    record = liar.record(got)
    assert (record["outcome"], record["code"], record["events"]) == ("failed", "upstream_failed", 2)


FIRSTS: dict[str, Callable[[], Behaviour]] = {
    "a line without end": lambda: endless(STREAM_HEAD, framed(b"a" * 65536)),
    "only comments without end": lambda: stub.saying(STREAM_HEAD, *[framed(b": hm\n\n")] * 5_000, END),
    "an error": lambda: stub.saying(STREAM_HEAD, framed(b'data: {"error": "secret"}\n\n'), END),
}


@pytest.mark.parametrize("lie", FIRSTS)
def test_a_stream_that_never_begins_is_an_error_with_its_status(liar: Liar, lie: str):
    """Nothing was sent, so it is tried again, and then told as an error; in the stream if that had to begin meanwhile."""
    got = liar.ask(FIRSTS[lie](), stream=True)
    assert got.code == "upstream_failed"
    assert got.status == (200 if got.body.startswith(b": waiting") else 502)
    assert b"secret" not in got.body
    record = liar.record(got)
    assert (record["outcome"], record["attempts"], record["output_tokens"]) == ("failed", 2, 0)


def test_what_was_too_large_is_let_go_at_once(liar: Liar):
    """An answer of 64 MiB that came to nothing does not wait for a collector of garbage to be forgotten."""
    before = {pid: rss_kib(pid) for pid in liar.cloud.pids("gateway")}
    for _ in range(3):
        assert liar.ask(WHOLE["an answer without end"], stream=False).code == "upstream_failed"
    assert max(rss_kib(pid) - before[pid] for pid in before) < GROWTH_KIB_MAX


def test_explain_tells_what_the_server_did(liar: Liar):
    """For the operator, without the server's words."""
    got = liar.ask(WHOLE["200 with an error"], stream=False)
    told = liar.cloud.json("explain", got.request)
    assert told["request"]["request"] == got.request
    assert told["request"]["attempts"] == 2
    assert "theirs-v1-server" in json.dumps(told)
    assert "secret" not in json.dumps(told)
