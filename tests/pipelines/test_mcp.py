"""Tools of an MCP server: the official server in this process, asked as a run asks it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvicorn
from mcp.server import MCPServer

from headrace.pipelines import mcp
from headrace.pipelines.ports import Fetched
from headrace.pipelines.runner import Runner, Wanted
from headrace.pipelines.tools import ToolError
from headrace.pipelines.web import OpenWeb
from headrace.state.run import Run
from tests.pipelines.world import Journal, Model, world

TEXT = """
name: p
steps:
  a: {{agent: m, prompt: go, tools: {{desk: {{mcp: "{url}", timeout: 5s{more}}}}}}}
output: "{{{{ a }}}}"
"""


@contextlib.asynccontextmanager
async def desk() -> AsyncIterator[str]:
    """Two tools of the official server; its address."""
    server = MCPServer("desk")

    @server.tool()
    def add(a: int, b: int) -> int:
        """Adds."""
        return a + b

    @server.tool()
    def fails() -> str:
        """Fails."""
        raise ValueError("out of paper")

    config = uvicorn.Config(server.streamable_http_app(), port=0, log_level="error", lifespan="on", ws="none")
    serving = uvicorn.Server(config)
    serving.capture_signals = contextlib.nullcontext  # type: ignore[method-assign] # the test's own signals stay
    task = asyncio.ensure_future(serving.serve())
    while not serving.started:
        await asyncio.sleep(0.005)
    yield f"http://127.0.0.1:{serving.servers[0].sockets[0].getsockname()[1]}/mcp"
    serving.should_exit = True
    await task


def calling(name: str, arguments: str) -> Any:
    def say(body: dict[str, Any]) -> dict[str, Any]:
        told = [turn["content"] for turn in body["messages"] if turn["role"] == "tool"]
        call = {"id": "c", "type": "function", "function": {"name": name, "arguments": arguments}}
        return {"message": {"content": told[0]} if told else {"content": None, "tool_calls": [call]}}

    return say


def ended(tmp_path: Path, say: Any, more: str = "") -> Run:
    async def life() -> Run:
        async with desk() as url:
            ports = msgspec.structs.replace(world(Journal(), Model(say=say)), web=OpenWeb(["127.0.0.1"]))
            runner = Runner(ports, tmp_path)
            return await runner.ended(await runner.start("t", "k", Wanted(text=TEXT.format(url=url, more=more))))

    return asyncio.run(life())


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("add", '{"a": 2, "b": 3}', "5"),
        ("add", '{"a": 2}', "error: the arguments do not fit: b is missing"),
        ("fails", "{}", "error: Error executing tool fails"),
    ],
)
def test_tools_of_the_official_server_are_listed_called_and_their_errors_told(
    tmp_path: Path, name: str, arguments: str, said: str
):
    run = ended(tmp_path, calling(name, arguments))
    assert run.ended is not None
    assert said in run.ended.output
    assert next(step for step, _ in run.steps) == "a@tools.desk"


def test_only_those_that_are_chosen_are_offered_and_one_that_is_not_there_is_named(tmp_path: Path):
    run = ended(tmp_path, calling("fails", "{}"), ", only: [add]")
    assert run.ended is not None
    assert "there is no tool 'fails'; there are: add" in run.ended.output
    run = ended(tmp_path, calling("add", "{}"), ", only: [print]")
    assert run.ended is not None
    assert "has no tool 'print'; it has: add, fails" in run.ended.error


def test_a_server_that_is_not_there_fails_the_step_by_name(tmp_path: Path):
    async def life() -> Run:
        ports = msgspec.structs.replace(world(Journal(), Model()), web=OpenWeb(["127.0.0.1"]))
        runner = Runner(ports, tmp_path)
        return await runner.ended(
            await runner.start("t", "k", Wanted(text=TEXT.format(url="http://127.0.0.1:1/mcp", more="")))
        )

    run = asyncio.run(life())
    assert run.ended is not None
    assert run.ended.step == "a@tools.desk"
    assert "cannot be listed" in run.ended.error


class Saying:
    """A server that answers anything with these bytes."""

    def __init__(self, status: int, kind: str, body: bytes) -> None:
        self.said = Fetched(status=status, content_type=kind, body=body)

    async def fetch(self, *_: Any) -> Fetched:
        return self.said


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (Saying(200, "application/json", b"nonsense"), "not JSON-RPC"),
        (Saying(200, "application/json", b'{"jsonrpc":"2.0","id":7,"result":{}}'), "did not answer initialize"),
        (
            Saying(200, "application/json", b'{"jsonrpc":"2.0","id":1,"error":{"message":"no"}}'),
            "refused initialize: no",
        ),
        (Saying(503, "text/plain", b""), "answered 503"),
        (Saying(302, "text/plain", b""), "answered 302"),
    ],
)
def test_garbage_of_a_server_is_an_error_in_words(said: Saying, told: str):
    with pytest.raises(ToolError, match=told):
        asyncio.run(mcp.opened(said, "http://x/", {}))


def test_the_answer_of_a_stream_of_events_is_found_among_others():
    body = b'event: message\r\ndata: {"jsonrpc":"2.0","method":"note"}\r\n\r\ndata: {"jsonrpc":"2.0","id":1,"result":{}}\r\n\r\n'
    asyncio.run(mcp.opened(Saying(200, "text/event-stream", body), "http://x/", {}))
