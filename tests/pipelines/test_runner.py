"""Runs: whatever the moment of a crash, the next runner comes to the same result and the same bill."""

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import Invalid, Unreachable
from headrace.pipelines.context import LATE_US, Context, StepFailed
from headrace.pipelines.execute import execute
from headrace.pipelines.ports import Charges, Said
from headrace.pipelines.runner import Runner, Wanted
from headrace.specs import pipeline as spec
from headrace.state.run import AnyEvent, Run, Started, fold
from tests.pipelines.world import Crash, Hand, Journal, Model, world

TEXT = """
name: p
input: {word: null}
limits: {cost: 0.000001, time: 5m, width: 3}
steps:
  a: {each: "{{ range(4) }}", chat: m, prompt: "{{ word }} {{ item }}"}
  b: {loop: {until: "{{ round == 1 }}", at_most: 5}, chat: m, prompt: "again {{ last }} {{ a | length }}"}
  c: {value: "{{ a | join(',') }}"}
output: {b: "{{ b }}", c: "{{ c }}"}
"""
DECODER = msgspec.json.Decoder(AnyEvent)


def begun(cap: int = 1000, text: str = TEXT, width: int = 3, **inputs: object) -> Started:
    return Started(at_us=1, run="run_1", tenant="t", key="k", pipeline="p", version="v", source=text,
                   inputs=inputs or {"word": "x"}, cap_nanousd=cap, deadline_us=10**9, width=width)  # fmt: skip


def go(journal: Journal, model: Model) -> tuple[object, Run]:
    """One runner's life over a journal: the output, and the state at its end."""
    state = fold(DECODER.decode(data) for data in journal.events("run_1"))
    context = Context(state, world(journal, model))

    async def life() -> object:
        return await execute(spec.read(state.started.source), context, state.started.inputs)

    return asyncio.run(life()), state


def fresh(**more: object) -> Journal:
    return Journal([msgspec.json.encode(begun(**more))])


def test_every_crash_point_comes_to_the_same_result_and_the_same_bill():
    """All prefixes of the journal; the gateway remembers what it has answered, as the real one does."""
    whole, model = fresh(), Model()
    output, state = go(whole, model)
    assert state.spent_nanousd == model.charged == 6 * 7
    for most in range(1, len(whole.events("run_1"))):
        journal, model = fresh(), Model()
        journal.most = most
        with pytest.raises((Crash, BaseExceptionGroup)):
            go(journal, model)
        journal.most, journal.dead = 1 << 30, False
        again, after = go(journal, model)
        assert again == output, most
        assert after.spent_nanousd == model.charged == 6 * 7, most
        assert after.held_nanousd == 0
        assert after.spent_nanousd + after.lost_nanousd <= after.cap_nanousd


@given(st.integers(0, 80), st.integers(1, 8), st.integers(0, 10))
@settings(max_examples=60, deadline=None)
def test_a_cap_is_never_passed(cap: int, width: int, charge: int):
    journal, model = fresh(cap=cap, width=width), Model(charge=charge)
    with contextlib.suppress(StepFailed):
        go(journal, model)
    events = [DECODER.decode(data) for data in journal.events("run_1")]
    for end in range(1, len(events) + 1):
        state = fold(events[:end])
        assert state.spent_nanousd + state.lost_nanousd + state.held_nanousd <= cap
        assert msgspec.json.encode(state) == msgspec.json.encode(fold(events[:end]))
    assert model.charged <= cap


def test_the_width_bounds_what_is_asked_at_once():
    model = Model()
    go(fresh(width=2), model)
    assert model.most_at_work == 2


def test_less_is_chosen_where_the_worst_case_does_not_fit_and_the_reason_is_kept():
    text = "name: p\nsteps:\n  a: {chat: m, prompt: hi, or_else: [{max_tokens: 16}]}\noutput: '{{ a }}'\n"
    output, state = go(fresh(cap=6, text=text), Model(charge=3))
    assert output == "hi:2"
    assert "max_tokens" in state.chosen[0].why
    assert "more than" in state.chosen[0].why


def test_the_first_good_enough_ends_the_others_and_what_they_used_is_theirs(tmp_path: Path):
    text = """
name: p
limits: {width: 4}
steps:
  a: {each: [slow, fast], chat: m, prompt: "{{ item }}", enough: "'fast' in result"}
output: "{{ a }}"
"""
    output, state = go(fresh(text=text), Model(slow=frozenset({"slow"})))
    assert output == "fast:4"
    assert (state.spent_nanousd, state.lost_nanousd, state.held_nanousd) == (7, 10, 0)
    journal, model = Journal(), Model(slow=frozenset({"slow"}))

    async def life() -> Run:
        runner = Runner(world(journal, model), tmp_path)
        return await runner.ended(await runner.start("t", "k", Wanted(text=text)))

    state = asyncio.run(life())
    assert (state.spent_nanousd, state.lost_nanousd, state.held_nanousd) == (7 + 3, 0, 0)
    assert state.spent_nanousd == model.charged
    assert (state.stages["a"].spent_nanousd, state.stages["a"].cut_nanousd) == (10, 3)
    assert {span.name: span.charge_nanousd for span in state.spans.values() if span.outcome == "cancelled"} == {"m": 3}


def test_a_record_that_comes_after_the_end_still_corrects_the_receipt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    text = "name: p\nlimits: {width: 4}\nsteps: {a: {each: [slow, fast], chat: m, prompt: '{{ item }}', enough: 'true'}}\noutput: ''\n"
    monkeypatch.setattr("headrace.pipelines.runner.SETTLING_US", (0,))
    monkeypatch.setattr("headrace.pipelines.runner.LATER_US", (0, 0, 0, 0, 0))
    journal, model = Journal(), Model(slow=frozenset({"slow"}))
    kept, model.charges = model.charges, no_charges  # type: ignore[method-assign] # the books are behind

    async def life() -> tuple[Run, Run]:
        runner = Runner(world(journal, model), tmp_path)
        run = await runner.start("t", "k", Wanted(text=text))
        before = await runner.ended(run)
        model.charges = kept  # type: ignore[method-assign] # and now they are not
        while runner.state(run).cut:
            await asyncio.sleep(0)
        return before, runner.state(run)

    before, after = asyncio.run(life())
    assert (before.phase, before.spent_nanousd, before.lost_nanousd) == ("finished", 7, 10)
    assert (after.phase, after.spent_nanousd, after.lost_nanousd) == ("finished", 10, 0)


async def no_charges(*_: object) -> Charges:
    return Charges({})


def test_who_is_cancelled_while_its_call_is_written_down_leaves_nothing_open(tmp_path: Path):
    """Its sibling, for whose hold it waited, fails at that moment: the call was never sent, and its hold is free."""
    text = """
name: p
limits: {width: 2, cost: 0.00000001}
steps: {a: {each: [bad, good], chat: m, prompt: "{{ item }}", retries: 0}}
output: ""
"""

    class Slow(Journal):
        """Takes its time over the call of the second."""

        turn = asyncio.Lock()

        async def append(self, run: str, events: Sequence[bytes]) -> None:
            async with self.turn:
                if any(b'"called"' in event and b"a[1]" in event for event in events):
                    await asyncio.sleep(0.01)
                await super().append(run, events)

    class Refusing(Model):
        async def send(self, key: str, path: str, body: dict[str, Any], **more: Any) -> Said:
            if body["messages"][-1]["content"] == "bad":
                return Said(status=400, body={"error": {"message": "no"}}, charge_nanousd=0)
            return await super().send(key, path, body, **more)

    journal, model = Slow(), Refusing()

    async def life() -> Run:
        runner = Runner(world(journal, model), tmp_path)
        return await asyncio.wait_for(runner.ended(await runner.start("t", "k", Wanted(text=text))), 5)

    state = asyncio.run(life())
    assert (state.phase, state.open, state.unsettled) == ("failed", {}, {})
    assert (state.spent_nanousd, state.lost_nanousd, state.held_nanousd, model.charged) == (0, 0, 0, 0)
    assert [span.outcome for span in state.spans.values()] == ["failed", "cancelled"]


class Flaky(Model):
    """Its gateway is killed under the first sending of each call, when 3 of it have been charged."""

    def __init__(self, charged: int = 3) -> None:
        super().__init__()
        self.first, self.sums, self.was_charged = set[str](), dict[str, int](), charged

    async def send(self, key: str, path: str, body: dict[str, Any], *, label: str, **more: Any) -> Said:
        call = label.partition("/")[2]
        if call not in self.first:
            self.first.add(call)
            self.charged += self.was_charged
            self.sums[call] = self.was_charged
            raise Unreachable("broke off")
        said = await super().send(key, path, body, label=label, **more)
        self.sums[call] += said.charge_nanousd or 0
        return said

    async def charges(self, key: str, run: str, since_us: int) -> Charges:
        return Charges(dict(self.sums), self.until_us)


@pytest.mark.parametrize("charged", [0, 3, 10])
def test_what_was_sent_twice_is_booked_as_what_it_came_to_when_the_gateways_have_settled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, charged: int
):
    """Until then at its worst case; the next runner goes on to learn it when this one dies first."""
    monkeypatch.setattr("headrace.pipelines.context.AWAY_US", 0)
    for name in ("SETTLING_US", "LATER_US"):
        monkeypatch.setattr(f"headrace.pipelines.runner.{name}", (0,))
    journal, model = Journal(), Flaky(charged)
    ports = world(journal, model)

    async def life() -> list[Run]:
        runner, seen = Runner(ports, tmp_path), list[Run]()
        run = await runner.start("t", "k", Wanted(text=TEXT, inputs={"word": "x"}))
        seen.append(await runner.ended(run))
        await runner.stop()
        model.until_us = 1 << 60
        runner = Runner(ports, tmp_path)
        assert runner.resume() == 0
        while (state := runner.state(run)).unsettled:
            await asyncio.sleep(0)
        await runner.stop()
        return [*seen, state]

    before, after = asyncio.run(life())
    assert (before.phase, before.spent_nanousd, before.lost_nanousd) == ("finished", 6 * 7, 6 * 10)
    assert (after.spent_nanousd, after.lost_nanousd) == (model.charged, 0)
    assert sum(stage.cut_nanousd for stage in after.stages.values()) == 6 * charged
    assert sum(span.charge_nanousd or 0 for span in after.spans.values()) == model.charged
    assert after.unsettled == {}


def test_a_cut_call_that_no_gateway_ever_had_comes_to_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Once all that they had by its end, and a while longer, is settled; not before."""
    text = "name: p\nsteps: {a: {chat: m, prompt: slow, retries: 0, timeout: 20ms}}\noutput: ''\n"
    for name in ("SETTLING_US", "LATER_US"):
        monkeypatch.setattr(f"headrace.pipelines.runner.{name}", (0,))
    journal, model = Journal(), Model(slow=frozenset({"slow"}))
    model.cut = Unheard()
    model.until_us = Hand.at + LATE_US  # its end, and not longer
    ports = world(journal, model)

    async def life() -> tuple[Run, Run]:
        runner = Runner(ports, tmp_path)
        run = await runner.start("t", "k", Wanted(text=text))
        before = await runner.ended(run)
        await runner.stop()
        model.until_us += 1
        runner = Runner(ports, tmp_path)
        runner.resume()
        while runner.state(run).unsettled:
            await asyncio.sleep(0)
        await runner.stop()
        return before, runner.state(run)

    before, after = asyncio.run(life())
    assert [(state.spent_nanousd, state.lost_nanousd) for state in (before, after)] == [(0, 10), (0, 0)]


class Unheard(dict[str, int]):
    """No record is made."""

    def __setitem__(self, call: str, charge: int) -> None:
        """Nothing."""


def test_a_hanging_step_fails_by_name_and_its_hold_stays_booked():
    text = "name: p\nsteps:\n  a: {chat: m, prompt: slow, retries: 0, timeout: 20ms}\noutput: '{{ a }}'\n"
    journal = fresh(text=text)
    with pytest.raises(StepFailed, match=r"step a: no answer within 0.02 s"):
        go(journal, Model(slow=frozenset({"slow"})))


def test_a_run_is_cancelled_and_gone_on_with(tmp_path: Path):
    text = (
        "name: p\nlimits: {width: 1}\nsteps:\n  a: {chat: m, prompt: fast}\n  b: {chat: m, prompt: '{{ a[:0] }}slow'}\n"
    )
    text += "output: '{{ b }}'\n"
    journal, model = Journal(), Model(slow=frozenset({"slow"}))

    async def life() -> Run:
        runner = Runner(world(journal, model), tmp_path)
        run = await runner.start("t", "k", Wanted(text=text))
        while not runner.state(run).steps:
            await asyncio.sleep(0)
        await runner.cancel(run)
        assert runner.state(run).phase == "cancelled"
        model.slow = frozenset()
        await runner.retry(run, step="", cost=None, time_us=None)
        return await runner.ended(run)

    state = asyncio.run(life())
    assert state.phase == "finished"
    assert [name for name, _ in state.steps] == ["a", "b"]
    assert state.stages["a"].calls == 1


def test_two_starts_with_one_name_make_one_run_and_another_request_is_refused(tmp_path: Path):
    journal, model = Journal(), Model()

    async def life() -> None:
        runner = Runner(world(journal, model), tmp_path)
        wanted = Wanted(text=TEXT, inputs={"word": "x"})
        names = await asyncio.gather(*(runner.start("t", "k", wanted, run="run_9") for _ in range(5)))
        assert set(names) == {"run_9"}
        assert (await runner.ended("run_9")).spent_nanousd == model.charged == 6 * 7
        with pytest.raises(Invalid, match="used for another run"):
            await runner.start("t", "k", Wanted(text=TEXT, inputs={"word": "y"}), run="run_9")

    asyncio.run(life())


CHILD = "name: child\nlimits: {cost: 0.00000003}\ninput: {word: null}\nsteps: {a: {chat: m, prompt: '{{ word }}'}}\noutput: '{{ a }}'\n"
PARENT = """
name: parent
limits: {cost: 0.000001}
steps:
  a:
    agent: m
    prompt: go
    tools: {ask: {pipeline: child, description: Asks., parameters: {word: {type: string}}, timeout: 5s}}
output: "{{ a }}"
"""


def test_a_pipeline_is_a_tool_of_another_and_what_it_spends_is_its_parents(tmp_path: Path):
    def say(body: dict) -> dict:
        if "tools" not in body:
            return {"message": {"content": "deep " + body["messages"][-1]["content"]}}
        told = [turn["content"] for turn in body["messages"] if turn["role"] == "tool"]
        call = {"id": "c", "type": "function", "function": {"name": "ask", "arguments": '{"word": "sea"}'}}
        return {"message": {"content": told[0]} if told else {"content": None, "tool_calls": [call]}}

    journal, model = Journal(), Model(say=say)

    async def life() -> tuple[Run, Run]:
        runner = Runner(world(journal, model), tmp_path)
        await journal.deploy("t", "child", CHILD)
        state = await runner.ended(await runner.start("t", "k", Wanted(text=PARENT)))
        (child,) = [name for name in journal.kept if name != state.started.run]
        return state, runner.state(child)

    state, child = asyncio.run(life())
    assert state.ended is not None
    assert state.ended.output == "deep sea"
    assert (state.spent_nanousd, child.spent_nanousd) == (3 * 7, 7)
    assert (child.started.depth, child.cap_nanousd) == (1, 30)


def test_pipelines_that_call_each_other_end_at_a_depth(tmp_path: Path):
    def say(body: dict) -> dict:
        told = [turn["content"] for turn in body["messages"] if turn["role"] == "tool"]
        call = {"id": "c", "type": "function", "function": {"name": "ask", "arguments": "{}"}}
        return {"message": {"content": told[0]} if told else {"content": None, "tool_calls": [call]}}

    text = PARENT.replace("pipeline: child", "pipeline: parent").replace("parameters: {word: {type: string}}, ", "")
    journal = Journal()

    async def life() -> Run:
        runner = Runner(world(journal, Model(say=say)), tmp_path)
        await journal.deploy("t", "parent", text.replace("0.000001", "0.00001"))
        return await runner.ended(await runner.start("t", "k", Wanted(text=text.replace("0.000001", "0.0001"))))

    state = asyncio.run(life())
    assert len(journal.kept) == 5
    assert state.ended is not None
    assert "error" in state.ended.output


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ("a: {value: '{{ b }}'}, b: {value: '{{ a }}'}", "circle"),
        ("a: {value: '{{ a }}'}", "its own result"),
        ("a: {chat: m, prompt: '{{ nam }}'}", "did you mean name"),
        ("a: {chat: m}", "needs `prompt`"),
        ("a: {chat: m, prompt: x, loop: {until: 'false', at_most: 1000}}", "<= 100"),
        ("a: {chat: m, prompt: x, loop: {until: 'false'}}", "at_most"),
        ("a: {chat: m, embed: m, prompt: x}", "exactly one"),
        ("a: {chat: m, prompt: '{{ x'}", "cannot be read"),
        ("a: {chat: m, prompt: x, timeout: 5}", "timeout"),
        ("a: {chat: m, prompt: x, tools: {t: {pipeline: p, description: d}}}", "belongs to an agent"),
        ("a: {agent: m, prompt: x, tools: {t: {description: d}}}", "exactly one of http, pipeline and mcp"),
        ("a: {agent: m, prompt: x, tools: {t: {http: {url: 'http://{h}/'}, description: d}}}", "host stands in it"),
        ("a: {agent: m, prompt: x, tools: {t: {http: {url: 'http://h/{x}'}, description: d}}}", "the URL takes 'x'"),
        ("a: {agent: m, prompt: x, tools: {t: {pipeline: p}}}", "description"),
        ("a: {agent: m, prompt: x, first: [t]}", "none of its tools"),
        ("a: {agent: m, prompt: x, max_steps: 101}", "<= 100"),
        ("a: {agent: m, prompt: x, cost: '-1'}", "cost"),
    ],
)
def test_what_cannot_be_run_is_refused_before_it_begins(tmp_path: Path, steps: str, said: str):
    text = f"name: p\ninput: {{name: x}}\nsteps: {{{steps}}}\noutput: ''\n"

    async def start() -> None:
        await Runner(world(Journal(), Model()), tmp_path).start("t", "k", Wanted(text=text))

    with pytest.raises(Invalid, match=said):
        asyncio.run(start())
