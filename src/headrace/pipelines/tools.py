"""One call of an agent's tool: bounded in time and size, journaled before it acts, its failure told to the model.

A tool is foreign: it may hang, raise, or answer with too much. Whatever it does, the agent is told in one text. A tool
that had begun when its runner was killed is called again only if it may be repeated; else the model is told that it is
not known whether it acted.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from headrace.errors import HeadraceError
from headrace.pipelines.context import BACKOFF_FIRST_US, Context, StepFailed
from headrace.state.run import ToolBegan, ToolFailed

RESULT_CHARS: Final = 4_096
TIMEOUT_US: Final = 10_000_000


class ToolError(HeadraceError):
    """What a tool could not do, in words for the model. `final`: another attempt would not help."""

    def __init__(self, message: str, *, final: bool = False) -> None:
        super().__init__(message)
        self.final = final


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """Where a tool is called from: its step's name, the place its own calls are asked from, and whose bounds hold."""

    context: Context
    step: str
    place: str
    scope: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """What a model may call. `parameters` is the JSON schema of its arguments; `call` does it, or raises.

    `repeat`: it may be called again when it is not known whether it acted. `on_error`: tell the model, or fail.
    """

    name: str
    description: str
    parameters: dict[str, Any]
    call: Callable[[Use, dict[str, Any]], Awaitable[Any]]
    timeout_us: int = TIMEOUT_US
    retries: int = 0
    repeat: bool = False
    result_chars: int = RESULT_CHARS
    on_error: Literal["tell", "fail"] = "tell"

    def offered(self) -> dict[str, Any]:
        """As a chat request says it."""
        said = {"name": self.name, "description": self.description, "parameters": self.parameters}
        return {"type": "function", "function": said}


class Told(msgspec.Struct, frozen=True):
    """What came of a call, as it is journaled and told."""

    ok: bool
    text: str


async def use(tools: dict[str, Tool], name: str, arguments: str, at: Use) -> Told:
    """Call one by the name and the arguments that a model wrote. Raises StepFailed where the tool says `fail`."""
    tool = tools.get(name)
    if tool is None:
        return Told(False, f"error: there is no tool {name[:64]!r}; there are: {', '.join(tools)}")
    try:
        given = msgspec.json.decode(arguments or "{}")
    except (msgspec.MsgspecError, RecursionError):
        return Told(False, "error: the arguments are not JSON")
    if not isinstance(given, dict):
        return Told(False, "error: the arguments must be a JSON object")
    if at.place in at.context.run.tools and not tool.repeat:
        return Told(
            False, f"error: {name} was interrupted, and it is not known whether it acted; check before you go on"
        )
    await at.context.tell(ToolBegan(at_us=at.context.now_us, step=at.step, place=at.place, tool=name))
    try:
        return Told(True, await _insist(tool, at, given))
    except ToolError as error:
        if tool.on_error == "fail":
            await at.context.tell(ToolFailed(at_us=at.context.now_us, place=at.place, error=error.message))
            fix = "correct the tool, or let it say on_error: tell; then: headrace pipeline retry"
            raise StepFailed(at.step, f"tool {name}: {error.message}", fix) from None
        return Told(False, f"error: {error.message}")


async def _insist(tool: Tool, at: Use, given: dict[str, Any]) -> str:
    """Its result as text, after as many attempts as it may have. Raises ToolError."""
    delay_us = BACKOFF_FIRST_US
    for left in range(tool.retries, -1, -1):
        try:
            return await _once(tool, at, given)
        except ToolError as error:
            if error.final or not left:
                raise
        await at.context.pause(at.step, delay_us, at.scope)
        delay_us *= 2
    raise AssertionError("the last attempt returns or raises")


async def _once(tool: Tool, at: Use, given: dict[str, Any]) -> str:
    time_us = min(tool.timeout_us, at.context.run.deadline(at.scope) - at.context.now_us)
    try:
        async with asyncio.timeout(max(time_us, 0) / 1e6):
            found = await tool.call(at, given)
    except ToolError:
        raise
    except TimeoutError:
        raise ToolError(f"{tool.name} did not answer within {max(time_us, 0) / 1e6:g} s") from None
    except HeadraceError as error:
        raise ToolError(error.message) from None
    except Exception as error:  # noqa: BLE001 - the outermost frame of foreign code: the model is told what it raised
        raise ToolError(f"{tool.name} failed: {type(error).__name__}: {str(error)[:200]}") from None
    text = _text(tool, found)
    if len(text) > tool.result_chars:
        raise ToolError(
            f"the result of {tool.name} has {len(text)} characters, more than {tool.result_chars}; ask for less",
            final=True,
        )
    return text


def _text(tool: Tool, found: Any) -> str:
    if isinstance(found, str):
        return found
    if isinstance(found, bytes | bytearray | memoryview):
        raise ToolError(f"{tool.name} gave bytes, not text", final=True)
    try:
        return msgspec.json.encode(found).decode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ToolError(f"the result of {tool.name} cannot be written as JSON: {error}", final=True) from None
