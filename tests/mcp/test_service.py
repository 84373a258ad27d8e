"""The protocol at `/mcp`: versions, methods, tools and their failures, over a gateway that answers as a test says."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from headrace.mcp.envelope import HANDSHAKES, VERSION
from headrace.mcp.service import Service
from headrace.serving import process
from headrace.serving.caller import Door
from headrace.serving.loopback import Answered, Loopback
from headrace.state import keys

PEPPER = bytes(range(32))
MODELS = {"data": [{"id": "small", "task": "chat"}, {"id": "vectors", "task": "embed"}]}
PIPELINES = {"data": [{"name": "report", "inputs": {"question": None, "style": "short"}}]}
RUN = {"id": "run_1", "phase": "finished", "output": "done", "error": None, "cost": {"spent_nanousd": 5}}


class Clock:
    def now_us(self) -> int:
        return 7_200_000_000

    def monotonic_us(self) -> int:
        return 0


class Gateway(Loopback):
    """Answers of a gateway by path; `asked` is what it was asked."""

    def __init__(self, **found: Any) -> None:
        super().__init__("127.0.0.1", 1, PEPPER)
        self.found = {"/v1/models": MODELS, "/headrace/v1/pipelines": PIPELINES, **found}
        self.asked: list[tuple[str, str, Any]] = []

    async def send(self, method: str, path: str, *, key: str, data: bytes = b"", headers: Any = None) -> Answered:
        await asyncio.sleep(0)
        assert key == "k1"
        self.asked.append((method, path, json.loads(data) if data else None))
        found = self.found.get(path, (404, {"error": {"message": f"nothing at {path}"}}))
        status, value = found if isinstance(found, tuple) else (200, found)
        told = {"x-headrace-cost": "0.000000005", "x-request-id": "req_1"} if method == "POST" else {}
        return Answered(status, told, json.dumps(value).encode())


@pytest.fixture
def speak() -> Callable[..., Any]:
    def speak(gateway: Gateway, method: str, params: Any = None, *, to: Any = 1, **headers: str) -> Any:
        proof = keys.proof(PEPPER, keys.RUNNER)
        who = {"x-headrace-proof": proof, "x-headrace-key": "k1", "x-headrace-tenant": "t", "x-headrace-role": "user"}
        body = {"jsonrpc": "2.0", "method": method, "params": params or {}, **({} if to is None else {"id": to})}
        with TestClient(process.app([Service(gateway, Door(PEPPER), Clock())])) as client:
            return client.post("/mcp", json=body, headers={**who, **headers})

    return speak


def test_hello_in_each_version_and_in_none_that_is_spoken_here(speak):
    """The client's version where it is known, else the newest, and the client decides."""
    for asked, got in [
        *zip(HANDSHAKES, HANDSHAKES, strict=True),
        ("2024-11-05", HANDSHAKES[0]),
        (VERSION, HANDSHAKES[0]),
    ]:
        result = speak(Gateway(), "initialize", {"protocolVersion": asked}).json()["result"]
        assert result["protocolVersion"] == got
        assert result["serverInfo"]["name"] == "headrace"
        assert "tools" in result["capabilities"]


def test_messages_that_want_no_answer_get_none(speak):
    answer = speak(Gateway(), "notifications/initialized", to=None)
    assert (answer.status_code, answer.content) == (202, b"")


@pytest.mark.parametrize(
    ("method", "params", "code", "words"),
    [
        ("prompts/list", {}, -32601, "initialize, server/discover, ping"),
        ("initialize", {}, -32602, "protocolVersion"),
        ("tools/call", {}, -32602, "name"),
        ("tools/call", {"name": "fly"}, -32602, "there are: chat, embed"),
    ],
)
def test_what_cannot_be_done_is_an_error_of_the_protocol(speak, method: str, params: dict, code: int, words: str):
    answer = speak(Gateway(), method, params, to="x")
    error = answer.json()["error"]
    assert (answer.status_code, answer.json()["id"], error["code"]) == (200, "x", code)
    assert words in error["message"]


def test_a_version_that_is_not_spoken_is_refused_with_those_that_are(speak):
    answer = speak(Gateway(), "ping", **{"mcp-protocol-version": "2099-01-01"})
    assert answer.status_code == 400
    supported = [VERSION, *HANDSHAKES]
    assert answer.json()["error"]["data"] == {"supported": supported, "requested": "2099-01-01"}


def test_nobody_but_a_gateway_is_heard():
    with TestClient(process.app([Service(Gateway(), Door(PEPPER), Clock())])) as client:
        assert client.post("/mcp", json={}).status_code == 403
        assert client.get("/mcp").status_code == 405


def test_tools_are_what_the_key_may_use(speak):
    """Models as an enum, no tool for a task that nobody does, each pipeline with its inputs."""
    listed = {tool["name"]: tool for tool in speak(Gateway(), "tools/list").json()["result"]["tools"]}
    assert list(listed) == ["chat", "embed", "explain", "cost_now", "pipeline_report"]
    assert listed["chat"]["inputSchema"]["properties"]["model"]["enum"] == ["small"]
    schema = listed["pipeline_report"]["inputSchema"]
    assert (schema["required"], schema["properties"]["style"]) == (["question"], {"default": "short"})


def test_a_chat_asks_the_model_and_says_what_it_cost(speak):
    choice = {"message": {"content": "Paris"}, "finish_reason": "stop"}
    gateway = Gateway(**{"/v1/chat/completions": {"choices": [choice], "usage": {"total_tokens": 3}}})
    params = {"name": "chat", "arguments": {"prompt": "Capital?", "system": "Be brief.", "max_tokens": 5}}
    result = speak(gateway, "tools/call", params).json()["result"]
    assert result["content"] == [{"type": "text", "text": "Paris"}]
    assert result["structuredContent"]["cost"] == "0.000000005"
    assert result["structuredContent"]["request"] == "req_1"
    assert gateway.asked[-1][2] == {
        "model": "small",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Capital?"}],
        "max_tokens": 5,
    }


def test_a_pipeline_is_run_to_its_end(speak):
    gateway = Gateway(**{"/headrace/v1/runs": {"id": "run_1"}, "/headrace/v1/runs/run_1?wait_s=600": RUN})
    params = {"name": "pipeline_report", "arguments": {"question": "why"}}
    result = speak(gateway, "tools/call", params).json()["result"]
    assert result["structuredContent"] == {"run": "run_1", "output": "done", "cost_nanousd": 5}
    assert gateway.asked[-2] == ("POST", "/headrace/v1/runs", {"pipeline": "report", "inputs": {"question": "why"}})


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("chat", {}, "prompt"),
        ("chat", {"prompt": "x", "colour": 1}, "colour"),
        ("chat", {"prompt": "x"}, "nothing at /v1/chat/completions"),
        ("explain", {"id": "a/b"}, "nothing at /headrace/v1/explain/a%2Fb"),
        ("pipeline_report", {}, "nothing at /headrace/v1/runs"),
    ],
)
def test_a_tool_that_fails_says_so_in_its_result(speak, name: str, arguments: dict, words: str):
    result = speak(Gateway(), "tools/call", {"name": name, "arguments": arguments}).json()["result"]
    assert result["isError"] is True
    assert words in result["content"][0]["text"]


def test_a_run_that_failed_says_why(speak):
    failed = {**RUN, "phase": "failed", "error": {"reason": "no money", "fix": "raise the cap"}}
    gateway = Gateway(**{"/headrace/v1/runs": {"id": "run_1"}, "/headrace/v1/runs/run_1?wait_s=600": failed})
    result = speak(gateway, "tools/call", {"name": "pipeline_report"}).json()["result"]
    assert (result["isError"], result["content"][0]["text"]) == (
        True,
        "run_1 has not finished: no money; raise the cap",
    )


META = {"io.modelcontextprotocol/protocolVersion": VERSION, "io.modelcontextprotocol/clientCapabilities": {}}


def test_an_envelope_is_answered_without_a_handshake(speak):
    """In results that say that they are whole, whose they are, and that nobody keeps them."""
    for method, name in (("server/discover", "supportedVersions"), ("tools/list", "tools")):
        headers = {"mcp-protocol-version": VERSION, "mcp-method": method}
        result = speak(Gateway(), method, {"_meta": META}, **headers).json()["result"]
        assert (result["resultType"], result["ttlMs"], result["cacheScope"]) == ("complete", 0, "private")
        assert result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "headrace"
        assert result[name]


@pytest.mark.parametrize(
    ("params", "headers", "status", "code"),
    [
        ({"_meta": META}, {"mcp-method": "ping"}, 400, -32020),
        (
            {"_meta": {**META, "io.modelcontextprotocol/protocolVersion": "x"}},
            {"mcp-method": "tools/call"},
            400,
            -32020,
        ),
        ({"_meta": META, "name": "chat"}, {"mcp-method": "tools/call", "mcp-name": "embed"}, 400, -32020),
        ({"_meta": {}}, {"mcp-method": "tools/call"}, 400, -32602),
        ({"_meta": META, "name": "fly"}, {"mcp-method": "tools/call", "mcp-name": "fly"}, 400, -32602),
    ],
)
def test_an_envelope_is_held_against_its_headers(speak, params: dict, headers: dict, status: int, code: int):
    answer = speak(Gateway(), "tools/call", params, **{"mcp-protocol-version": VERSION, **headers})
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_a_method_that_is_not_there_is_404_in_an_envelope(speak):
    headers = {"mcp-protocol-version": VERSION, "mcp-method": "prompts/list"}
    assert speak(Gateway(), "prompts/list", {"_meta": META}, **headers).status_code == 404
