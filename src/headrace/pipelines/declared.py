"""Agents in YAML: what a step declares, made into what `agent` runs."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import quote, urlencode

import msgspec

from headrace.errors import HeadraceError, Invalid, Permanent, Refused, Unreachable
from headrace.pipelines import mcp
from headrace.pipelines.agent import Agent
from headrace.pipelines.context import Ask, Context, Patience, StepFailed
from headrace.pipelines.ports import CHILD, Fetched
from headrace.pipelines.tools import Tool, ToolError, Use
from headrace.specs.agent import Http, ToolSpec
from headrace.specs.pipeline import Step
from headrace.wire import fits

FETCHED_BYTES_MAX: Final = 256 << 10
_AGAIN: Final = frozenset({408, 425, 429})
_CUT: Final = 300  # characters of a server's refusal that the model is told


async def agent_of(
    context: Context, place: str, step: Step, body: dict[str, Any], or_else: list[dict[str, Any]]
) -> tuple[Agent, Any]:
    """The agent of a step, and its prompt, from its first request. Raises StepFailed or Invalid."""
    *system, prompt = body.pop("messages")
    body.pop("response_format", None)
    tools: dict[str, Tool] = {}
    for name, spec in step.tools.items():
        found = [tool_of(name, spec)] if spec.mcp is None else await _served(context, f"{place}@tools.{name}", spec)
        for tool in found:
            if tool.name in tools:
                raise Invalid(f"step {place}: two tools are called {tool.name!r}; choose with `only`", status=422)
            tools[tool.name] = tool
    made = Agent(
        model=body.pop("model"),
        system=system[0]["content"] if system else "",
        tools=tools,
        first=step.first,
        max_steps=step.max_steps,
        cost_nanousd=step.cost_nanousd,
        time_us=step.time_us,
        schema=step.schema,
        more=body,
        or_else=or_else,
        patience=Patience(retries=step.retries, timeout_us=step.timeout_us),
    )
    return made, prompt["content"]


async def _served(context: Context, name: str, spec: ToolSpec) -> list[Tool]:
    """The tools of an MCP server. What it offers is asked once a run and kept, so that a resumed run sees the same."""
    url = spec.mcp or ""

    async def listed(_origin: str) -> list[dict[str, Any]]:
        try:
            async with asyncio.timeout(spec.timeout_us / 1e6):
                return await (await mcp.opened(context.world.web, url, spec.headers)).tools()
        except (HeadraceError, TimeoutError, KeyError, TypeError) as error:
            why = str(error) or type(error).__name__
            raise StepFailed(
                name, f"the tools of {url} cannot be listed: {why}", "start the server, or correct the URL"
            ) from None

    def tool(one: dict[str, Any]) -> Tool:
        async def call(at: Use, given: dict[str, Any]) -> str:
            if wrong := fits.problem(given, one["parameters"]):
                raise ToolError(f"the arguments do not fit: {wrong}", final=True)
            return await (await mcp.opened(at.context.world.web, url, spec.headers)).call(one["name"], given)

        return _made(one["offered"], one["description"], one["parameters"], spec, call)

    found = await context.step(name, [url, spec.only], listed)
    if missing := [word for word in spec.only if word not in {one["name"] for one in found}]:
        known = ", ".join(one["name"] for one in found)
        raise StepFailed(name, f"{url} has no tool {missing[0]!r}; it has: {known}", "correct `only`")
    return [tool(one) for one in found if not spec.only or one["name"] in spec.only]


def tool_of(name: str, spec: ToolSpec) -> Tool:
    """A tool of what the file says of it; its arguments are checked before anything is called."""
    call = _fetching(spec.http) if spec.http is not None else _running(spec)

    async def checked(at: Use, given: dict[str, Any]) -> Any:
        if wrong := fits.problem(given, spec.schema):
            raise ToolError(f"the arguments do not fit: {wrong}", final=True)
        return await call(at, given)

    return _made(name, spec.description, spec.schema, spec, checked)


def _made(name: str, description: str, parameters: dict[str, Any], spec: ToolSpec, call: "_Call") -> Tool:
    return Tool(
        name=name,
        description=description,
        parameters=parameters,
        call=call,
        timeout_us=spec.timeout_us,
        retries=spec.retries,
        repeat=spec.repeats,
        result_chars=spec.result_chars,
        on_error=spec.on_error,
    )


_Call = Callable[[Use, dict[str, Any]], Awaitable[Any]]


def _fetching(http: Http) -> _Call:
    async def call(at: Use, given: dict[str, Any]) -> str:
        url = http.url
        for hole in http.holes:
            url = url.replace("{" + hole + "}", quote(_word(given[hole]), safe=""))
        rest = {name: value for name, value in given.items() if name not in http.holes}
        headers, body = dict(http.headers), b""
        if http.method == "GET" and rest:
            url += ("&" if "?" in url else "?") + urlencode({name: _word(value) for name, value in rest.items()})
        elif http.method != "GET":
            body = msgspec.json.encode(rest)
            headers = {"content-type": "application/json", **headers}
            headers["idempotency-key"] = f"{at.context.run.started.run}/{at.place}"
        try:
            found = await at.context.world.web.fetch(http.method, url, headers, body, FETCHED_BYTES_MAX)
        except Unreachable as error:
            raise ToolError(error.message) from None
        except (Permanent, Refused) as error:
            raise ToolError(error.message, final=True) from None
        return _said(found)

    return call


def _said(found: Fetched) -> str:
    """The text of a server's answer. Raises ToolError for what is none."""
    kind = found.content_type.partition(";")[0].strip().lower()
    if found.body and not (kind.startswith("text/") or kind.endswith(("json", "xml"))):
        raise ToolError(f"the server answered with {kind[:60] or 'an unnamed type'}, not with text", final=True)
    try:
        text = found.body.decode()
    except UnicodeDecodeError:
        raise ToolError("the server's answer is not UTF-8 text", final=True) from None
    if 300 <= found.status < 400:
        raise ToolError(f"the server answered {found.status}, and redirects are not followed", final=True)
    if found.status >= 400:
        again = found.status >= 500 or found.status in _AGAIN
        raise ToolError(f"the server answered {found.status}: {text[:_CUT]}", final=not again)
    return text


def _running(spec: ToolSpec) -> _Call:
    async def call(at: Use, given: dict[str, Any]) -> Any:
        left = max(at.context.run.left(at.scope), 1)  # all of it is held while the child is at work
        most = min(spec.cost_nanousd or left, left)
        body = {"model": f"pipeline/{spec.pipeline}", "pipeline": spec.pipeline, "inputs": given, "cost_nanousd": most}
        patience = Patience(retries=0, timeout_us=spec.timeout_us)
        try:
            return await at.context.ask(at.place, [Ask(path=CHILD, body=body)], patience, at.scope)
        except StepFailed as error:
            raise ToolError(error.reason, final=True) from None

    return call


def _word(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
