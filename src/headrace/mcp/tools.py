"""The tools: what each takes, and what it asks of the cloud.

A tool that fails says so in its result (`isError`), in the cloud's own words, so that the model that called it can do
better; a tool that is not there is an error of the protocol.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import quote

import msgspec

from headrace.mcp.cloud import Cloud, Told
from headrace.mcp.jsonrpc import INVALID_PARAMS, Failed

PIPELINE: Final = "pipeline_"
WAIT_S: Final = 600
_HOUR_US: Final = 3_600_000_000


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """One tool as it is listed, and what it does. `reads`: it changes nothing, though it may cost something."""

    name: str
    description: str
    schema: dict[str, Any]
    call: Callable[[Cloud, dict[str, Any]], Awaitable[dict[str, Any]]]
    reads: bool = True

    def listed(self) -> dict[str, Any]:
        """As `tools/list` shows it."""
        hints = {"readOnlyHint": self.reads, "openWorldHint": False}
        return {"name": self.name, "description": self.description, "inputSchema": self.schema, "annotations": hints}


class _Chat(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    model: str
    prompt: str
    system: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None


class _Embed(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    model: str
    texts: list[str]


class _Rerank(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    model: str
    query: str
    documents: list[str]
    top_n: int | None = None


class _Explain(msgspec.Struct, forbid_unknown_fields=True):
    id: str


class _Nothing(msgspec.Struct, forbid_unknown_fields=True):
    pass


async def offered(cloud: Cloud, now_us: int) -> list[Tool]:
    """The tools of one key. Raises Told."""
    models = await cloud.models()
    made = [_TASKS[task](models[task]) for task in _TASKS if task in models]
    made += [_explain(), _cost_now(now_us)]
    pipelines = await cloud.get("/headrace/v1/pipelines")
    return [*made, *(_pipeline(found["name"], found["inputs"]) for found in pipelines["data"])]


async def call(cloud: Cloud, name: str, arguments: dict[str, Any], now_us: int) -> dict[str, Any]:
    """What a tool gives, or why it gives nothing. Raises Failed for one that is not there."""
    try:
        tools = {tool.name: tool for tool in await offered(cloud, now_us)}
        tool = tools.get(name)
        if tool is None:
            raise Failed(INVALID_PARAMS, f"there is no tool {name[:64]!r}; there are: {', '.join(tools)}")
        return await tool.call(cloud, arguments)
    except msgspec.ValidationError as error:
        return _result(f"The arguments of {name} do not fit its schema: {error}.", failed=True)
    except Told as error:
        return _result(str(error), failed=True)


def _chat(models: list[str]) -> Tool:
    async def call(cloud: Cloud, given: dict[str, Any]) -> dict[str, Any]:
        asked = msgspec.convert({"model": models[0], **given}, _Chat)
        turns = [{"role": "system", "content": asked.system}] if asked.system else []
        more = {"max_tokens": asked.max_tokens, "temperature": asked.temperature}
        body = {"model": asked.model, "messages": [*turns, {"role": "user", "content": asked.prompt}], **_said(more)}
        answer, spent = await cloud.post("/v1/chat/completions", body)
        choice = answer["choices"][0]
        text = choice["message"]["content"] or ""
        found = {"text": text, "finish_reason": choice["finish_reason"], "usage": answer.get("usage")}
        return _result(text, {"model": asked.model, **found, **spent})

    properties = {
        "model": _model(models),
        "prompt": {"type": "string", "description": "what to say to it"},
        "system": {"type": "string", "description": "how it should answer"},
        "max_tokens": {"type": "integer", "minimum": 1},
        "temperature": {"type": "number", "minimum": 0, "maximum": 2},
    }
    about = "Ask a language model of this cloud; its answer, its usage and what it cost in US dollars."
    return Tool(name="chat", description=about, schema=_object(properties, "prompt"), call=call)


def _embed(models: list[str]) -> Tool:
    async def call(cloud: Cloud, given: dict[str, Any]) -> dict[str, Any]:
        asked = msgspec.convert({"model": models[0], **given}, _Embed)
        answer, spent = await cloud.post("/v1/embeddings", {"model": asked.model, "input": asked.texts})
        vectors = [item["embedding"] for item in answer["data"]]
        return _result(None, {"model": asked.model, "embeddings": vectors, "usage": answer.get("usage"), **spent})

    texts = {"type": "array", "items": {"type": "string"}, "minItems": 1}
    about = "Vectors of texts, in their order."
    schema = _object({"model": _model(models), "texts": texts}, "texts")
    return Tool(name="embed", description=about, schema=schema, call=call)


def _rerank(models: list[str]) -> Tool:
    async def call(cloud: Cloud, given: dict[str, Any]) -> dict[str, Any]:
        asked = msgspec.convert({"model": models[0], **given}, _Rerank)
        body = {"model": asked.model, "query": asked.query, "documents": asked.documents, "top_n": asked.top_n}
        answer, spent = await cloud.post("/v1/rerank", _said(body))
        return _result(None, {"model": asked.model, "results": answer["results"], **spent})

    properties = {
        "model": _model(models),
        "query": {"type": "string"},
        "documents": {"type": "array", "items": {"type": "string"}, "minItems": 1},
        "top_n": {"type": "integer", "minimum": 1},
    }
    about = "Order documents by how well each answers a query; places refer to the documents given."
    return Tool(name="rerank", description=about, schema=_object(properties, "query", "documents"), call=call)


def _explain() -> Tool:
    async def call(cloud: Cloud, given: dict[str, Any]) -> dict[str, Any]:
        name = msgspec.convert(given, _Explain).id
        return _result(None, await cloud.get(f"/headrace/v1/explain/{quote(name, safe='')}"))

    what = "the id of a request (req_...), a replica or a decision, or: last"
    about = "Why a request went where it went, waited as long as it did, and cost what it did; why a replica started."
    schema = _object({"id": {"type": "string", "description": what}}, "id")
    return Tool(name="explain", description=about, schema=schema, call=call)


def _cost_now(now_us: int) -> Tool:
    async def call(cloud: Cloud, given: dict[str, Any]) -> dict[str, Any]:
        msgspec.convert(given, _Nothing)
        return _result(None, await cloud.get(f"/headrace/v1/cost?by=model&from={now_us - _HOUR_US}"))

    about = "What the last hour was charged by model, in nano-dollars, of the caller's tenant (of all, for operators)."
    return Tool(name="cost_now", description=about, schema=_object({}), call=call)


def _pipeline(name: str, inputs: dict[str, Any]) -> Tool:
    async def call(cloud: Cloud, given: dict[str, Any]) -> dict[str, Any]:
        begun, _ = await cloud.post("/headrace/v1/runs", {"pipeline": name, "inputs": given})
        run = begun["id"]
        ended = await cloud.get(f"/headrace/v1/runs/{run}?wait_s={WAIT_S}")
        if ended["phase"] != "finished":
            still = {"reason": f"it is still {ended['phase']}", "fix": f"headrace pipeline show {run}"}
            error = ended["error"] or still
            raise Told(f"{run} has not finished: {error['reason']}; {error['fix']}")
        output = ended["output"]
        found = {"run": run, "output": output, "cost_nanousd": ended["cost"]["spent_nanousd"]}
        return _result(output if isinstance(output, str) else None, found)

    properties = {word: {} if value is None else {"default": value} for word, value in inputs.items()}
    needed = [word for word, value in inputs.items() if value is None]
    about = f"Run the pipeline {name} of this cloud to its end; its output, and what all its steps cost."
    return Tool(name=PIPELINE + name, description=about, schema=_object(properties, *needed), call=call, reads=False)


_TASKS: Final = {"chat": _chat, "embed": _embed, "rerank": _rerank}


def _model(names: list[str]) -> dict[str, Any]:
    return {"type": "string", "enum": names, "default": names[0]}


def _object(properties: dict[str, Any], *needed: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(needed),
        "additionalProperties": False,
    }


def _said(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if value is not None}


def _result(text: str | None, found: dict[str, Any] | None = None, *, failed: bool = False) -> dict[str, Any]:
    """A result; what has no text of its own is told as JSON."""
    shown = msgspec.json.encode(found).decode() if text is None else text
    made: dict[str, Any] = {"content": [{"type": "text", "text": shown}], "isError": failed}
    return made if found is None else {**made, "structuredContent": found}
