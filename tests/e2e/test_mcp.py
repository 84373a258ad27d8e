"""The tools of the cloud through the official MCP client, with real models and a real pipeline."""

import asyncio
import json
import urllib.error
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client

from tests.e2e.cloud import Cloud

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
EXAMPLES = Path(__file__).parents[2] / "examples" / "pipelines"
QUESTION = "What is the capital of France?"
DOCS = ["Paris is the capital of France.", "Bananas are yellow."]


def spoken(cloud: Cloud, talk: Callable[[Client], Awaitable[Any]], mode: str = "auto") -> Any:
    """What a conversation with the official client came to."""

    async def work() -> Any:
        headers = {"Authorization": f"Bearer {cloud.key}"}
        async with httpx2.AsyncClient(headers=headers, timeout=120) as http:
            transport = streamable_http_client(f"{cloud.url}/mcp", http_client=http)
            async with Client(transport, mode=mode) as client:
                return await talk(client)

    return asyncio.run(work())


@pytest.mark.parametrize(("mode", "version"), [("auto", "2026-07-28"), ("legacy", "2025-11-25")])
def test_the_official_client_uses_the_tools(cloud: Cloud, mode: str, version: str):
    """Listed with the models of the cloud; a chat is answered, booked and explained; with a handshake or without."""
    cloud.until(lambda: cloud.get("/headrace/v1/runs"), what="the runner to be there")

    async def talk(client: Client) -> None:
        assert (client.protocol_version, client.server_info.name) == (version, "headrace")
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert {"chat", "embed", "rerank", "explain", "cost_now"} <= set(tools)
        assert "smollm2" in tools["chat"].input_schema["properties"]["model"]["enum"]
        said = await client.call_tool(
            "chat", {"model": "smollm2", "prompt": QUESTION, "max_tokens": 24, "temperature": 0}
        )
        assert "Paris" in said.content[0].text
        assert float(said.structured_content["cost"]) > 0
        why = await client.call_tool("explain", {"id": said.structured_content["request"]})
        assert why.structured_content["request"]["model"] == "smollm2"
        vectors = await client.call_tool("embed", {"texts": ["a", "b"]})
        assert [len(vector) for vector in vectors.structured_content["embeddings"]] == [384, 384]
        order = await client.call_tool("rerank", {"query": QUESTION, "documents": DOCS[::-1], "top_n": 1})
        assert order.structured_content["results"][0]["index"] == 1
        spent = await client.call_tool("cost_now", {})
        assert sum(row["charge_nanousd"] for row in spent.structured_content["rows"]) > 0
        wrong = await client.call_tool("chat", {"model": "none", "prompt": "x"})
        assert wrong.is_error
        assert "does not exist" in wrong.content[0].text

    spoken(cloud, talk, mode)


def test_a_pipeline_is_a_tool(cloud: Cloud):
    """Once it is deployed; its output and its cost come back."""
    cloud.until(lambda: cloud.get("/headrace/v1/runs"), what="the runner to be there")
    cloud.post("/headrace/v1/pipelines", {"text": (EXAMPLES / "documents.yaml").read_text()})

    async def talk(client: Client) -> Any:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert tools["pipeline_documents"].input_schema["required"] == ["question", "documents"]
        return await client.call_tool("pipeline_documents", {"question": QUESTION, "documents": DOCS})

    ran = spoken(cloud, talk)
    assert not ran.is_error, ran.content
    assert "Paris" in json.dumps(ran.structured_content["output"])
    assert ran.structured_content["cost_nanousd"] > 0
    run = f"/headrace/v1/runs/{ran.structured_content['run']}"
    assert cloud.get(run + "?wait_s=1")["phase"] == "finished"
    with pytest.raises(urllib.error.HTTPError, match="400"):
        cloud.get(run + "?wait_s=601")
