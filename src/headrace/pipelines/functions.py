"""Agents in Python: `from headrace import agent, tool`.

    @tool(timeout="5s")
    async def order_status(order: int) -> dict:
        '''Where an order is.'''
        ...

    @agent(model="smollm2", tools=[order_status], max_steps=6, cost="0.01", time="1m")
    async def support(question: str) -> str:
        '''You help customers. Look an order up before you answer.'''
        return question

An agent's docstring is its system message, what its function returns is its prompt, and calling it gives its answer. A
tool is a function with typed parameters: their types are the JSON schema that the model sees, and what the model writes
is checked by them before the function is called.
"""

import asyncio
import contextlib
import contextvars
import functools
import inspect
import threading
import typing
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, Literal

import msgspec

from headrace.errors import Invalid
from headrace.pipelines import agent as agents
from headrace.pipelines.author import At, Body, asking, current
from headrace.pipelines.context import Patience
from headrace.pipelines.tools import RESULT_CHARS, Tool, ToolError, Use
from headrace.units import duration_us, nanousd

_KINDS: Final = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class AgentFunction:
    """An agent. Call it with what its function takes: the answer is text, or with a schema the value."""

    def __init__(self, body: Body, made: agents.Agent) -> None:
        self.__doc__ = body.__doc__
        self.body, self.name, self.made = body, body.__name__, made

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Its answer. Raises StepFailed or Invalid."""
        prompt = await self.body(*args, **kwargs)
        return await agents.run(current(), self.name, self.made, prompt)


def tool(
    *,
    timeout: str = "10s",
    retries: int = 0,
    repeat: bool = False,
    result_chars: int = RESULT_CHARS,
    on_error: Literal["tell", "fail"] = "tell",
) -> Callable[[Callable[..., Any]], Tool]:
    """Make a tool of a function. `repeat`: it may be called again when a crash leaves open whether it acted."""

    def made(function: Callable[..., Any]) -> Tool:
        arguments = _arguments(function)
        return Tool(
            name=function.__name__,
            description=inspect.cleandoc(function.__doc__ or ""),
            parameters=_schema(arguments),
            call=_called(function, arguments),
            timeout_us=duration_us(timeout),
            retries=retries,
            repeat=repeat,
            result_chars=result_chars,
            on_error=on_error,
        )

    return made


def agent(
    *,
    model: str,
    tools: Iterable[Tool | Callable[..., Any]] = (),
    max_steps: int = 8,
    cost: str | None = None,
    time: str | None = None,
    first: Iterable[str] = (),
    schema: dict[str, Any] | None = None,
    timeout: str = "60s",
    or_else: Iterable[dict[str, Any]] = (),
    **more: Any,
) -> Callable[[Body], AgentFunction]:
    """Make an agent of a function that returns its prompt. `more` are fields of its requests, like max_tokens."""
    ready = [one if isinstance(one, Tool) else tool()(one) for one in tools]
    known = {one.name: one for one in ready}
    if len(known) < len(ready):
        raise Invalid("two tools of an agent have the same name; rename one", param="tools")

    def made(body: Body) -> AgentFunction:
        return AgentFunction(
            body,
            agents.Agent(
                model=model,
                system=inspect.cleandoc(body.__doc__ or ""),
                tools=known,
                first=tuple(first),
                max_steps=max_steps,
                cost_nanousd=nanousd(cost) if cost is not None else None,
                time_us=duration_us(time) if time is not None else None,
                schema=schema,
                more={"max_tokens": 256, **more},
                or_else=tuple(or_else),
                patience=Patience(timeout_us=duration_us(timeout)),
            ),
        )

    return made


def _arguments(function: Callable[..., Any]) -> type[msgspec.Struct]:
    """A struct of a function's parameters. Raises Invalid for one without a type."""
    types = typing.get_type_hints(function, include_extras=True)
    fields: list[Any] = []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind not in _KINDS or name not in types:
            raise Invalid(f"the tool {function.__name__} takes {name!r} without a type; write it like {name}: str")
        has = parameter.default is not inspect.Parameter.empty
        fields.append((name, types[name], parameter.default) if has else (name, types[name]))
    return msgspec.defstruct(function.__name__, fields, kw_only=True, forbid_unknown_fields=True)


def _schema(arguments: type[msgspec.Struct]) -> dict[str, Any]:
    try:
        (_,), known = msgspec.json.schema_components([arguments], ref_template="#/$defs/{name}")
    except TypeError as error:
        raise Invalid(f"a parameter of the tool {arguments.__name__} has no JSON schema: {error}") from None
    found: dict[str, Any] = known.pop(arguments.__name__)
    found.pop("title", None)
    return {**found, "$defs": known} if known else found


def _called(
    function: Callable[..., Any], arguments: type[msgspec.Struct]
) -> Callable[[Use, dict[str, Any]], Awaitable[Any]]:
    """The function, called with what a model wrote. Models that it asks are asked within the agent's bounds."""

    async def call(at: Use, given: dict[str, Any]) -> Any:
        try:
            found = msgspec.convert(given, arguments, strict=True)
        except msgspec.ValidationError as error:
            raise ToolError(f"the arguments do not fit: {error}", final=True) from None
        fields = {name: getattr(found, name) for name in found.__struct_fields__}
        with asking(At(at.place, Patience(), (), at.scope)):
            if inspect.iscoroutinefunction(function):
                return await function(**fields)
            return await _in_thread(contextvars.copy_context(), functools.partial(function, **fields))

    return call


async def _in_thread(context: contextvars.Context, work: Callable[[], Any]) -> Any:
    """What a function gives that may block, in a thread of its own: one that hangs keeps nobody else from working."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Any] = loop.create_future()

    def tell(result: Any, error: Exception | None) -> None:
        if done.done():
            return  # nobody waits any more
        if error is None:
            done.set_result(result)
        else:
            done.set_exception(error)

    def run() -> None:
        result, raised = None, None
        try:
            result = context.run(work)
        except Exception as error:  # noqa: BLE001 - the outermost frame of the thread: its caller is told
            raised = error
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(tell, result, raised)

    threading.Thread(target=run, daemon=True).start()
    return await done
