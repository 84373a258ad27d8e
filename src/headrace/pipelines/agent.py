"""An agent at work: a model that calls tools until it answers, bounded in steps, money and time from outside.

Each turn of the model and each call of a tool is a step of the run's journal. A run that goes on after a crash is
answered from there: nothing that was finished is asked, done or charged again. The last step offers no tools, so that
it ends with an answer.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from headrace.errors import Invalid
from headrace.pipelines import author
from headrace.pipelines.context import Ask, Context, Patience
from headrace.pipelines.tools import Told, Tool, Use, use
from headrace.state.run import Chosen

PATH: Final = "/v1/chat/completions"
STEPS_MAX: Final = 100
CALLS_MAX: Final = 16  # of tools in one turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """What it is. `first`: tools that the first steps must call, in this order; `more`: fields of its requests.

    `or_else`: fields to change, in order, where a step's worst case does not fit. None: the run's own bound.
    """

    model: str
    system: str = ""
    tools: Mapping[str, Tool] = field(default_factory=dict)
    first: Sequence[str] = ()
    max_steps: int = 8
    cost_nanousd: int | None = None
    time_us: int | None = None
    schema: dict[str, Any] | None = None
    more: Mapping[str, Any] = field(default_factory=dict)
    or_else: Sequence[Mapping[str, Any]] = ()
    patience: Patience = Patience()

    def __post_init__(self) -> None:
        if not 1 <= self.max_steps <= STEPS_MAX:
            raise Invalid(f"an agent has 1 to {STEPS_MAX} steps, not {self.max_steps}", param="max_steps")
        unknown = [name for name in self.first if name not in self.tools]
        if unknown or len(self.first) >= self.max_steps:
            wrong = f"{unknown[0]!r} is none of its tools" if unknown else "it leaves no step for the answer"
            raise Invalid(f"an agent's `first` names tools, fewer than max_steps: {wrong}", param="first")


class Talk:
    """One conversation of an agent within a run; `place` is where the agent's step asks from."""

    def __init__(self, context: Context, name: str, place: str, agent: Agent) -> None:
        self._context, self._name, self._place, self._agent = context, name, place, agent
        self._tools = dict(agent.tools)

    async def answer(self, prompt: str | list[dict[str, Any]]) -> Any:
        """Its answer: text, or with a schema the value. Raises StepFailed or Invalid."""
        agent = self._agent
        await self._context.bound(self._place, agent.cost_nanousd, agent.time_us)
        turns = [{"role": "system", "content": agent.system}] if agent.system else []
        turns.append({"role": "user", "content": prompt})  # type: ignore[dict-item] # parts for models that see
        for number in range(1, agent.max_steps + 1):
            message = await self._turn(number, turns)
            calls = message["tool_calls"]
            again = message["cut"] and bool(self._tools)
            if number == agent.max_steps or not (calls or again):
                return author.read_text(message["content"], agent.schema)
            said = {"role": "assistant", "content": message["content"] or None, "tool_calls": calls or None}
            turns.append({name: value for name, value in said.items() if value is not None})
            if not calls:
                turns.append({"role": "user", "content": "That was cut off, since it was too long. Be shorter."})
                continue
            told = [asyncio.ensure_future(self._tool(number, index, call)) for index, call in enumerate(calls)]
            for call, result in zip(calls, await author.together(told), strict=True):
                turns.append({"role": "tool", "tool_call_id": call["id"], "content": result["text"]})
        raise AssertionError("the last step answers, whatever the model says")

    async def _turn(self, number: int, turns: list[dict[str, Any]]) -> dict[str, Any]:
        """What the model says next: content, calls of tools, and whether it was cut by its token limit."""
        step, body = f"{self._name}@{number}", self._body(number, turns)
        last = number == self._agent.max_steps and number > 1

        async def work(origin: str) -> dict[str, Any]:
            if last:
                why = f"step {number} of {number}: it must answer, no tool is offered"
                await self._context.tell(Chosen(at_us=self._context.now_us, step=step, why=why))
            asks = [Ask(path=PATH, body=body, agent_step=True)]
            asks += [Ask(path=PATH, body={**body, **change}, why=f"with {change}", agent_step=True)
                     for change in self._agent.or_else]  # fmt: skip
            answer = await self._context.ask(origin, asks, self._agent.patience, self._place, last=True)
            choice = answer["choices"][0]
            calls = choice["message"].get("tool_calls") or []
            return {"content": choice["message"].get("content") or "", "tool_calls": [*map(_call, calls[:CALLS_MAX])],
                    "cut": choice.get("finish_reason") == "length"}  # fmt: skip

        found: dict[str, Any] = await self._context.step(step, body, work)
        return found

    async def _tool(self, number: int, index: int, call: dict[str, Any]) -> dict[str, Any]:
        name, arguments = call["function"]["name"], call["function"]["arguments"]
        step = f"{self._name}@{number}.{name if name in self._tools else 'unknown'}"

        async def work(origin: str) -> Told:
            at = Use(context=self._context, step=step, place=origin, scope=self._place)
            return await use(self._tools, name, arguments, at)

        found: dict[str, Any] = await self._context.step(step, [index, arguments], work)
        return found

    def _body(self, number: int, turns: list[dict[str, Any]]) -> dict[str, Any]:
        agent = self._agent
        body: dict[str, Any] = {"model": agent.model, "messages": list(turns), **agent.more}
        body["prompt_cache_key"] = f"{self._context.run.started.run}/{self._name}"  # its turns begin alike
        if agent.schema is not None:
            body["response_format"] = author.response_format(agent.schema)
        if self._tools:
            body["tools"] = [tool.offered() for tool in self._tools.values()]
            body["tool_choice"] = self._choice(number)
        return body

    def _choice(self, number: int) -> Any:
        if number == self._agent.max_steps:
            return "none"
        if number <= len(self._agent.first):
            return {"type": "function", "function": {"name": self._agent.first[number - 1]}}
        return "auto"


def _call(said: Any) -> dict[str, Any]:
    """A call as it is sent back to the model; what an engine left out is empty."""
    said = said if isinstance(said, dict) else {}
    function = said.get("function") if isinstance(said.get("function"), dict) else {}
    named = {"name": str(function.get("name", "")), "arguments": str(function.get("arguments") or "{}")}
    return {"id": str(said.get("id", "")), "type": "function", "function": named}


async def run(context: Context, name: str, agent: Agent, prompt: str | list[dict[str, Any]]) -> Any:
    """An agent as a step of a run: its answer is kept under its name and all that it is asked with."""

    async def work(place: str) -> Any:
        return await Talk(context, name, place, agent).answer(prompt)

    offered = [tool.offered() for tool in agent.tools.values()]
    asked = [agent.model, agent.system, offered, list(agent.first), agent.max_steps, agent.schema, dict(agent.more)]
    return await context.step(name, [asked, prompt], work)
