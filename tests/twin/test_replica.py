"""A simulated replica: what it says of steps, prompts and shares is what a plain simulation of each step says."""

from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.economics.work import WorkModel
from headrace.policy.performance import Measured, Performance, Roofline
from headrace.specs import accelerators, shapes
from headrace.twin.behaviour import Behaviour
from headrace.twin.replica import NEVER, SimReplica

Job = tuple[int, int, int, int]  # arrival, prompt time, input tokens, output tokens
WORK = WorkModel(fixed_ns=1_000_000, decode_ns=100_000, context_ps=613_000)
ROOMY = Measured(WORK, 1 << 20)
H200 = Roofline(shapes.KNOWN["qwen3-32b"], accelerators.TABLE["nvidia-h200"])
L40S = Roofline(shapes.KNOWN["llama-3.1-8b"], accelerators.TABLE["nvidia-l40s"])
H100 = Roofline(shapes.KNOWN["llama-3.1-8b"], accelerators.TABLE["nvidia-h100"])


class Ran:
    """First tokens, ends and shares of jobs, by their number, and how long there was work."""

    def __init__(self) -> None:
        self.first: dict[int, float] = {}
        self.ends: dict[int, float] = {}
        self.shares: dict[int, float] = {}
        self.busy_us = 0.0
        self.due_us: float = NEVER


def run(performance: Performance, jobs: list[Job]) -> Ran:
    replica, ran, at = SimReplica("r", Behaviour(performance, 1 << 20, 0), 0), Ran(), 0
    while at < len(jobs) or replica.running:
        if at < len(jobs) and jobs[at][0] <= replica.due_us:
            arrival, prompt_us, tokens_in, tokens_out = jobs[at]
            replica.add(at, prompt_us, tokens_in, tokens_out, arrival)
            at += 1
            continue
        now = replica.due_us
        begun, ended, share = replica.happen(now)
        if begun >= 0:
            ran.first[begun] = now
        if ended >= 0:
            ran.ends[ended], ran.shares[ended] = now, share + jobs[ended][1]
    ran.busy_us, ran.due_us = replica.busy_us, replica.due_us
    return ran


def plainly(performance: Performance, jobs: list[Job]) -> Ran:
    """The same step by step: between two steps a prompt that has room is worked off whole, else each makes a token."""
    ran, now, at = Ran(), 0.0, 0
    waiting: deque[int] = deque()
    batch: dict[int, list[int]] = {}  # what each looked at last, and how many tokens it still makes
    while at < len(jobs) or waiting or batch:
        if not waiting and not batch:
            now = max(now, float(jobs[at][0]))
        while at < len(jobs) and jobs[at][0] <= now + 1e-6:
            waiting.append(at)
            at += 1
        held = sum(jobs[one][2] + jobs[one][3] for one in batch)
        if waiting and (not batch or held + jobs[waiting[0]][2] + jobs[waiting[0]][3] <= performance.kv_tokens):
            one = waiting.popleft()
            now += jobs[one][1]
            ran.busy_us += jobs[one][1]
            ran.first[one], ran.shares[one] = now, float(jobs[one][1])
            if jobs[one][3] > 1:
                batch[one] = [jobs[one][2], jobs[one][3] - 1]
            else:
                ran.ends[one] = now
            continue
        if not batch:
            continue
        for own in batch.values():
            own[0], own[1] = own[0] + 1, own[1] - 1
        count, looked = len(batch), sum(own[0] for own in batch.values())
        even = performance.step_ns(count, 0) / 1000
        step = performance.step_ns(count, looked / count) / 1000
        now += step
        ran.busy_us += step
        for one, own in list(batch.items()):
            ran.shares[one] += even / count + (step - even) * own[0] / max(1, looked)
            if not own[1]:
                del batch[one]
                ran.ends[one] = now
    return ran


jobs = st.lists(
    st.tuples(st.integers(0, 20_000), st.integers(10, 5_000), st.integers(0, 900), st.integers(1, 20)),
    min_size=1, max_size=9,
).map(sorted)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(jobs, st.sampled_from([1, 60, 400, 1200, 1 << 20]))
def test_it_is_a_simulation_of_each_step(found: list[Job], kv_tokens: int):
    """First tokens, ends and shares, in the same order, whatever room there is; all time with work is shared, once."""
    engine = Measured(WORK, kv_tokens)
    ran, plain = run(engine, found), plainly(engine, found)
    assert {number: pytest.approx(at, abs=1e-3) for number, at in plain.first.items()} == ran.first
    assert {number: pytest.approx(at, abs=1e-3) for number, at in plain.ends.items()} == ran.ends
    assert {number: pytest.approx(us, abs=1e-3) for number, us in plain.shares.items()} == ran.shares
    assert ran.busy_us == pytest.approx(plain.busy_us, abs=1e-3)
    assert sum(ran.shares.values()) == pytest.approx(ran.busy_us, rel=1e-9)
    assert list(ran.first) == sorted(ran.first), "prompts are worked off as they came"
    assert ran.due_us == NEVER


lengths = st.lists(st.tuples(st.integers(1, 12_000), st.integers(1, 400)), min_size=1, max_size=40)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([H200, L40S, H100]), lengths)
def test_a_roofline_is_followed_within_a_thousandth(engine: Roofline, sizes: list[tuple[int, int]]):
    """Its steps bend with the tokens looked at; the twin's lines do not."""
    found = [(0, 1000, *size) for size in sizes]
    ran, plain = run(engine, found), plainly(engine, found)
    assert {number: pytest.approx(at, rel=1e-3) for number, at in plain.ends.items()} == ran.ends
    assert sum(ran.shares.values()) == pytest.approx(ran.busy_us, rel=1e-9)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([H200, L40S, H100, ROOMY]), st.integers(1, 25), st.integers(1, 6_000), st.integers(2, 400)
)  # fmt: skip
def test_requests_of_one_length_take_steps_of_their_mean_context(
    engine: Performance, count: int, tokens_in: int, tokens_out: int
):
    """The prompt and half of the answer, as capacity is told."""
    ran = run(engine, [(0, 100, tokens_in, tokens_out)] * count)
    step_us = engine.step_ns(count, tokens_in + tokens_out / 2) / 1000
    if count * (tokens_in + tokens_out) <= engine.kv_tokens:
        assert ran.ends[0] == pytest.approx(100 * count + (tokens_out - 1) * step_us, rel=1e-3)
        assert list(ran.ends) == list(range(count))


@given(jobs, st.integers(1, 8))
def test_lengths_do_not_matter_to_an_engine_that_looks_at_nothing(found: list[Job], times: int):
    engine = Measured(WorkModel(fixed_ns=1_000_000, decode_ns=100_000), 1 << 20)
    longer = [(arrival, prompt_us, times * tokens_in, out) for arrival, prompt_us, tokens_in, out in found]
    assert run(engine, found).ends == run(engine, longer).ends


@given(st.lists(st.tuples(st.integers(0, 900), st.integers(2, 50)), min_size=1, max_size=9), st.integers(1, 4_000))
def test_long_contexts_are_slower(sizes: list[tuple[int, int]], more: int):
    short = run(ROOMY, [(0, 100, *size) for size in sizes])
    long = run(ROOMY, [(0, 100, tokens_in + more, out) for tokens_in, out in sizes])
    assert short.first == long.first
    assert all(short.ends[one] < long.ends[one] for one in short.ends)
    assert list(short.ends) == list(long.ends)


def test_a_lone_request_takes_its_prompt_and_its_steps():
    """Ten steps that look at 21 to 30 tokens."""
    ran = run(ROOMY, [(0, 500, 20, 11)])
    writing = 10 * 1100 + 0.613 * sum(range(21, 31))
    assert (ran.first[0], ran.ends[0], ran.shares[0]) == (500, *[pytest.approx(500 + writing)] * 2)


def test_who_looks_at_more_pays_more():
    """Fixed parts are shared evenly, and what is looked at is one's own."""
    ran = run(ROOMY, [(0, 500, 0, 11), (0, 500, 1000, 11)])
    assert ran.shares[1] - ran.shares[0] == pytest.approx(10 * 0.613 * 1000)


def test_a_last_token_does_not_wait_for_the_prompt_of_a_newcomer():
    """Who arrives in somebody's last step begins when it is over, and nobody else waits for that."""
    engine = Measured(WorkModel(fixed_ns=1_000_000), 1 << 20)
    ran = run(engine, [(0, 500, 1, 3), (0, 500, 1, 9), (2_500, 50_000, 1, 1)])
    assert ran.ends[0] == 3_000
    assert ran.first[2] == 53_000
    assert ran.ends[1] == 59_000


def test_a_prompt_waits_until_it_and_its_answer_fit():
    """Those behind it wait, too; one that is too long for the cache has it to itself."""
    engine = Measured(WorkModel(fixed_ns=1_000_000), 100)
    ran = run(engine, [(0, 500, 50, 11), (0, 500, 40, 10), (0, 500, 200, 2), (0, 500, 10, 2)])
    assert ran.ends[0] == 10_500
    assert ran.first[1] == 11_000
    assert ran.ends[1] == 20_000
    assert (ran.first[2], ran.ends[2]) == (20_500, 21_500)
    assert ran.first[3] == 22_000


def test_half_of_the_cache_is_for_prefixes():
    """The one used longest ago goes first."""
    kept = SimReplica("r", Behaviour(Measured(WORK, 1000), 8, 0), 0).kept
    asked = [(1, 300), (1, 300), (2, 150), (1, 250), (3, 100), (2, 150), (1, 100)]
    # 550 are more than 500, so the third lets 2 go, and 2 then 1
    assert [kept.take((one,)) for one in asked] == [0, 300, 0, 250, 0, 0, 0]
