"""The client against a real server on loopback."""

import socket

import pytest

from headrace.errors import HeadraceError, Invalid, Permanent, Refused, Transient, Unreachable
from headrace.sdk.client import Client
from tests.sdk.server import DONE, USAGE, Answer, Stub, chunk, serving

KEY = "hr-aaaaaaaaaaaa-secret"


@pytest.fixture
def stub():
    with serving() as stub:
        yield stub


@pytest.fixture
def client(stub: Stub) -> Client:
    return Client(stub.url, KEY)


def refusal(message: str, code: str = "x") -> dict[str, object]:
    return {"error": {"message": message, "type": "t", "param": "p", "code": code}}


def test_json_goes_out_and_comes_in(stub: Stub, client: Client):
    """With the key as a bearer token."""
    stub.answers["POST /v1/embeddings"] = Answer({"data": [1]})
    assert client.post("/v1/embeddings", {"input": "é"}) == {"data": [1]}
    (heard,) = stub.heard
    assert heard.json == {"input": "é"}
    assert heard.headers["authorization"] == f"Bearer {KEY}"
    assert heard.headers["content-type"] == "application/json"


def test_text_goes_out_as_yaml(stub: Stub, client: Client):
    """A cloud file is not JSON."""
    stub.answers["POST /headrace/v1/apply"] = Answer({})
    client.post("/headrace/v1/apply", "version: 1", **{"If-Match": "abc"})
    assert stub.heard[0].headers["content-type"] == "application/yaml"
    assert stub.heard[0].headers["if-match"] == "abc"


@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/"])
def test_an_address_may_end_as_openai_clients_have_it(stub: Stub, ending: str):
    """With or without /v1."""
    stub.answers["GET /v1/models"] = Answer({"data": []})
    assert Client(stub.url + ending, KEY).get("/v1/models") == {"data": []}


@pytest.mark.parametrize(
    "address", ["", "ftp://x", "http://", "http://x:99999", "http://x:0", "http://[::1", "http://u:p@x"]
)
def test_what_is_not_an_address_is_refused(address: str):
    """Before anything is sent."""
    with pytest.raises(Invalid, match="give http://HOST:PORT"):
        Client(address, KEY)


def test_a_key_cannot_carry_another_header():
    """Line breaks in it are refused, and it is not repeated."""
    with pytest.raises(Invalid) as told:
        Client("http://x", "hr-secret\r\nX-Evil: 1")
    assert "secret" not in str(told.value)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "invalid_value", Invalid),
        (401, "invalid_api_key", Refused),
        (403, "permission_denied", Refused),
        (404, "model_not_found", Invalid),
        (409, "conflict", Invalid),
        (422, "does_not_fit", Invalid),
        (429, "rate_limit_exceeded", Refused),
        (503, "overloaded", Refused),
        (503, "storage_unavailable", Transient),
        (500, "internal_error", Transient),
    ],
)
def test_a_refusal_is_an_error_that_says_what_to_do(
    stub: Stub, client: Client, status: int, code: str, kind: type[HeadraceError]
):
    """By its status; in the server's words."""
    stub.answers["GET /x"] = Answer(refusal("the limit is 2", code), status)
    with pytest.raises(kind) as told:
        client.get("/x")
    assert (type(told.value), str(told.value)) == (kind, "the limit is 2")


def test_retry_after_is_kept(stub: Stub, client: Client):
    """In microseconds; None when the server names none."""
    stub.answers["GET /x"] = Answer(refusal("slow"), 429, {"retry-after": "7"})
    stub.answers["GET /y"] = Answer(refusal("never"), 429)
    waits = []
    for path in ("/x", "/y"):
        with pytest.raises(Refused) as told:
            client.get(path)
        waits.append(told.value.retry_after_us)
    assert waits == [7_000_000, None]


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"error": "x"}', b"\xff"])
def test_a_refusal_without_an_error_object_is_told_by_its_status(stub: Stub, client: Client, body: bytes):
    """Another server may stand at the address."""
    stub.answers["GET /x"] = Answer(body, 502)
    with pytest.raises(Transient, match="the server answered 502"):
        client.get("/x")


def test_nobody_there_is_unreachable():
    """With the command that starts somebody."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(Unreachable, match="start a cloud with: headrace up"):
        Client(f"http://127.0.0.1:{port}", KEY).get("/health")


def test_a_stream_gives_its_events_and_skips_comments(stub: Stub, client: Client):
    """Comments keep a held stream alive; [DONE] ends it."""
    body = [b": waking, about 1 s\n\n", chunk("Pa")[:9], chunk("Pa")[9:], chunk("ris"), USAGE, DONE]
    headers = {"x-request-id": "req_1", "x-headrace-replica": "m-v1-abc"}
    stub.answers["POST /v1/chat/completions"] = Answer(body, headers=headers)
    stream = client.stream("/v1/chat/completions", {"stream": True})
    assert (stream.request_id, stream.replica) == ("req_1", "m-v1-abc")
    events = list(stream)
    assert [choice["delta"]["content"] for event in events for choice in event["choices"]] == ["Pa", "ris"]
    assert events[-1]["usage"]["completion_tokens"] == 2


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ([chunk("a")], Unreachable),
        ([chunk("a"), b'data: {"error": {"message": "the replica was lost", "code": "replica_lost"}}\n\n'], Transient),
        ([b"data: {\n\n"], Permanent),
    ],
    ids=["cut", "error", "garbage"],
)
def test_a_stream_that_does_not_end_well_is_an_error(stub: Stub, client: Client, body: list[bytes], kind: type):
    """Half an answer is never taken for a whole one."""
    stub.answers["POST /s"] = Answer(body)
    with pytest.raises(kind):
        list(client.stream("/s", {}))


def test_health_is_a_yes_or_no(stub: Stub, client: Client):
    """No exception for a door that is closed."""
    assert not client.healthy()
    stub.answers["GET /health"] = Answer({"status": "ok"})
    assert client.healthy()
