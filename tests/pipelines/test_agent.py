"""Agents: bounded from outside, nothing finished is done or charged twice, whatever their tools and models do."""

import asyncio
import time
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
import pytest

from headrace import agent, pipeline, tool
from headrace.errors import Invalid
from headrace.pipelines.author import PipelineFunction
from headrace.pipelines.context import Context, StepFailed
from headrace.pipelines.tools import Tool
from headrace.state.run import AnyEvent, Run, Started, fold
from tests.pipelines.world import Crash, Journal, Model, world

DECODER = msgspec.json.Decoder(AnyEvent)


def calling(*calls: tuple[str, Any]) -> dict[str, Any]:
    made = [{"id": f"c{i}", "type": "function", "function": {"name": name, "arguments": msgspec.json.encode(given).decode()}}
            for i, (name, given) in enumerate(calls)]  # fmt: skip
    return {"message": {"content": None, "tool_calls": made}, "finish_reason": "tool_calls"}


def saying(text: str, finish: str = "stop") -> dict[str, Any]:
    return {"message": {"content": text}, "finish_reason": finish}


def results(body: dict[str, Any]) -> list[str]:
    return [turn["content"] for turn in body["messages"] if turn["role"] == "tool"]


def twice(body: dict[str, Any]) -> dict[str, Any]:
    """Two calls of `add`, then the sum of what they gave."""
    found = results(body)
    if len(found) < 2:
        return calling(("add", {"a": len(found), "b": 1}))
    return saying(" ".join(found))


def once(name: str, given: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """One call, then what the tool said."""
    return lambda body: saying(found[0]) if (found := results(body)) else calling((name, given))


def begun(cap: int = 1000) -> Started:
    return Started(at_us=1, run="run_1", tenant="t", key="k", pipeline="p", version="v", source="python:p", inputs={},
                   cap_nanousd=cap, deadline_us=1 << 60, width=4)  # fmt: skip


def go(made: PipelineFunction, journal: Journal, model: Model) -> tuple[Any, Run]:
    state = fold(DECODER.decode(data) for data in journal.events("run_1"))
    return asyncio.run(made.run(Context(state, world(journal, model)), {})), state


def fresh(cap: int = 1000) -> Journal:
    return Journal([msgspec.json.encode(begun(cap))])


def asked(*tools: Tool | Callable[..., Any], **more: Any) -> PipelineFunction:
    @agent(model="m", tools=tools, **more)
    async def helper(question: str) -> str:
        """You help."""
        return question

    @pipeline(cost="1")
    async def p() -> str:
        return await helper("What is it?")

    return p


def test_every_crash_point_comes_to_the_same_answer_and_bill_and_no_finished_tool_is_called_again():
    done: list[int] = []

    @tool(repeat=True)
    async def add(a: int, b: int) -> int:
        done.append(a)
        return a + b

    whole, model = fresh(), Model(say=twice)
    output, state = go(asked(add), whole, model)
    assert (output, state.spent_nanousd, model.agent_steps, done) == ("1 2", 3 * 7, 3, [0, 1])
    for most in range(1, len(whole.events("run_1"))):
        journal, model = fresh(), Model(say=twice)
        journal.most = most
        done.clear()
        with pytest.raises((Crash, BaseExceptionGroup)):
            go(asked(add), journal, model)
        journal.most, journal.dead = 1 << 30, False
        finished = {step for step, _ in fold(DECODER.decode(data) for data in journal.events("run_1")).steps}
        done.clear()
        assert go(asked(add), journal, model)[0] == output, most
        assert model.charged == 3 * 7, most
        assert len(done) == 2 - sum(".add" in step for step in finished), most


def test_a_tool_that_may_have_acted_before_a_crash_is_not_called_again_and_the_model_is_told():
    called: list[int] = []

    @tool()
    async def pay(euros: int) -> str:
        called.append(euros)
        raise Crash

    journal, model = fresh(), Model(say=once("pay", {"euros": 5}))
    with pytest.raises(Crash):
        go(asked(pay), journal, model)
    output, state = go(asked(pay), journal, model)
    assert called == [5]
    assert "not known whether it acted" in output
    assert state.tools == {}


@tool(timeout="20ms")
async def hangs() -> str:
    """Never answers."""
    await asyncio.Event().wait()
    return ""


@tool(timeout="50ms")
def blocks() -> str:
    """Never answers in time, in a thread."""
    time.sleep(0.3)
    return ""


@tool()
async def raises() -> str:
    """Fails."""
    raise ValueError("the shelf is empty")


@tool()
async def bytes_() -> bytes:
    """Garbage."""
    return b"\x00\xff"


@tool()
async def unwritable() -> Any:
    """Garbage of another kind."""
    return object()


@tool(result_chars=10)
async def much() -> str:
    """Too much."""
    return "x" * 11


@tool()
async def typed(order: Annotated[int, msgspec.Meta(ge=1)], express: bool = False) -> str:
    """Strict."""
    return f"{order}"


@pytest.mark.parametrize(
    ("used", "name", "given", "said"),
    [
        (hangs, "hangs", {}, "did not answer within 0.02 s"),
        (blocks, "blocks", {}, "did not answer within 0.05 s"),
        (raises, "raises", {}, "ValueError: the shelf is empty"),
        (bytes_, "bytes_", {}, "bytes, not text"),
        (unwritable, "unwritable", {}, "cannot be written as JSON"),
        (much, "much", {}, "11 characters, more than 10"),
        (typed, "typed", {"order": "7"}, "Expected `int`, got `str`"),
        (typed, "typed", {"order": 0}, "Expected `int` >= 1"),
        (typed, "typed", {"order": 7, "now": True}, "unknown field `now`"),
        (typed, "typed", [7], "must be a JSON object"),
        (typed, "other", {}, "there is no tool 'other'; there are: typed"),
    ],
)
def test_whatever_a_tool_does_the_model_is_told_and_answers(used: Tool, name: str, given: Any, said: str):
    output, state = go(asked(used), fresh(), Model(say=once(name, given)))
    assert output.startswith("error: ")
    assert said in output
    assert state.spent_nanousd == 2 * 7


def test_a_tool_whose_policy_is_to_fail_ends_the_step_by_name_and_a_retry_may_call_it_again():
    works: list[bool] = []

    @tool(on_error="fail")
    async def strict() -> str:
        if not works:
            raise ValueError("no")
        return "yes"

    journal, model = fresh(), Model(say=once("strict", {}))
    with pytest.raises(StepFailed, match=r"helper@1.strict: tool strict: strict failed: ValueError: no"):
        go(asked(strict), journal, model)
    works.append(True)
    assert go(asked(strict), journal, model)[0] == "yes"


def test_a_tool_is_tried_again_as_often_as_it_says():
    tried: list[int] = []

    @tool(retries=1)
    async def flaky() -> str:
        tried.append(1)
        if len(tried) == 1:
            raise ConnectionError("reset")
        return "there"

    assert go(asked(flaky), fresh(), Model(say=once("flaky", {})))[0] == "there"
    assert len(tried) == 2


def test_the_last_step_offers_no_tool_so_an_agent_that_never_stops_answers():
    def endless(body: dict[str, Any]) -> dict[str, Any]:
        return saying("enough") if body["tool_choice"] == "none" else calling(("typed", {"order": 1}))

    output, state = go(asked(typed, max_steps=3), fresh(), Model(say=endless))
    assert (output, state.spent_nanousd) == ("enough", 3 * 7)
    assert "step 3 of 3" in state.chosen[-1].why


def test_an_agents_money_is_bounded_within_the_runs():
    with pytest.raises(StepFailed, match=r"more than the \$0.000000004 left.*raise the agent's `cost`"):
        go(asked(typed, cost="0.000000025"), fresh(), model := Model(say=lambda _: calling(("typed", {"order": 1}))))
    assert model.charged == 3 * 7


def test_less_is_asked_for_where_an_agents_money_runs_short():
    made = asked(typed, cost="0.000000016", or_else=[{"max_tokens": 16}])
    output, state = go(made, fresh(), Model(say=once("typed", {"order": 1})))
    assert output == "1"
    assert "max_tokens" in state.chosen[0].why


def test_an_agents_time_is_bounded_and_a_hanging_tool_does_not_pass_it():
    @tool(timeout="10s")
    async def waits() -> str:
        await asyncio.sleep(10)
        return ""

    start = time.monotonic()
    output, _ = go(asked(waits, time="40ms"), fresh(), Model(say=once("waits", {})))
    assert time.monotonic() - start < 5
    assert "did not answer within 0.04 s" in output


def test_calls_of_one_turn_are_made_side_by_side():
    there = asyncio.Barrier(2)

    @tool(timeout="2s")
    async def meet(who: int) -> int:
        await there.wait()
        return who

    def both(body: dict[str, Any]) -> dict[str, Any]:
        found = results(body)
        return saying(",".join(found)) if found else calling(("meet", {"who": 1}), ("meet", {"who": 2}))

    assert go(asked(meet), fresh(), Model(say=both))[0] == "1,2"


def test_an_answer_that_was_cut_is_asked_for_again_shorter():
    def long(body: dict[str, Any]) -> dict[str, Any]:
        return saying("short") if "Be shorter" in body["messages"][-1]["content"] else saying('{"name": "ty', "length")

    assert go(asked(typed), fresh(), Model(say=long))[0] == "short"


def test_what_a_tool_asks_of_models_is_within_the_agents_bounds():
    from headrace import chat

    @tool()
    async def think(about: str) -> str:
        return await chat("m", about)

    def say(body: dict[str, Any]) -> dict[str, Any]:
        if "tools" not in body:
            return saying("deep")
        return once("think", {"about": "x"})(body)

    output, state = go(asked(think, cost="0.00000004"), fresh(), Model(say=say))
    assert (output, state.spent_nanousd) == ("deep", 3 * 7)
    assert state.stages["helper"].spent_nanousd == 3 * 7
    with pytest.raises(StepFailed, match=r"step helper@2: .* more than the .0.000000006 left"):
        go(asked(think, cost="0.00000002"), fresh(), Model(say=say))


def test_the_schema_of_a_tool_is_that_of_its_signature():
    assert typed.parameters == {
        "type": "object",
        "properties": {"order": {"type": "integer", "minimum": 1}, "express": {"type": "boolean", "default": False}},
        "required": ["order"],
        "additionalProperties": False,
    }
    assert typed.description == "Strict."


def test_a_tool_without_types_and_an_agent_without_an_end_are_refused():
    with pytest.raises(Invalid, match="takes 'x' without a type"):
        tool()(lambda x: x)
    with pytest.raises(Invalid, match="1 to 100 steps"):
        asked(typed, max_steps=0)
    with pytest.raises(Invalid, match="no step for the answer"):
        asked(typed, max_steps=1, first=["typed"])
    with pytest.raises(Invalid, match="'nobody' is none of its tools"):
        asked(typed, first=["nobody"])


def test_an_engine_that_calls_tools_against_its_orders_still_ends_and_odd_calls_are_told_as_errors():
    def stubborn(body: dict[str, Any]) -> dict[str, Any]:
        return {
            "message": {"content": "so be it", "tool_calls": [{"function": {"name": "a/b#c"}}, 7]},
            "finish_reason": "stop",
        }

    output, state = go(asked(typed, max_steps=2), fresh(), Model(say=stubborn))
    assert output == "so be it"
    assert [step for step, _ in state.steps] == [
        "helper@1",
        "helper@1.unknown",
        "helper@1.unknown",
        "helper@2",
        "helper",
    ]
