"""A simulated replica: what it says of steps, prompts and shares is what a plain simulation of each step says."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.twin.replica import NEVER, Behaviour, SimReplica

STEPS = [0.0, *(1000.0 + 100.0 * count for count in range(1, 9))]


def run(jobs: list[tuple[int, int, int]]) -> tuple[dict[int, float], dict[int, float], dict[int, float], SimReplica]:
    """First tokens, ends and shares of jobs (arrival, prompt time, output tokens), by their number."""
    replica = SimReplica("r", Behaviour(STEPS, 8, 10_000, 0), 0)
    first: dict[int, float] = {}
    ends: dict[int, float] = {}
    shares: dict[int, float] = {}
    at = 0
    while at < len(jobs) or replica.running:
        if at < len(jobs) and jobs[at][0] <= replica.due_us:
            replica.add(at, jobs[at][1], jobs[at][2], jobs[at][0])
            at += 1
            continue
        now = replica.due_us
        begun, ended, share = replica.happen(now)
        if begun >= 0:
            first[begun] = now
        if ended >= 0:
            ends[ended], shares[ended] = now, share + jobs[ended][1]
    return first, ends, shares, replica


def plainly(jobs: list[tuple[int, int, int]]) -> dict[int, float]:
    """The same, in small pieces of time: prompts in order of arrival, then everybody a part of a step."""
    now, steps, done, waiting = 0.0, 0.0, {}, list(enumerate(jobs))
    prompts: list[list[float]] = []
    batch: dict[int, float] = {}
    while waiting or prompts or batch:
        nothing = not prompts and not batch
        if nothing:
            now = max(now, float(waiting[0][1][0]))
        while waiting and waiting[0][1][0] <= now:
            number, (_, prompt_us, output) = waiting.pop(0)
            if batch and not prompts:  # the step under way is finished first
                rest = math.ceil(steps - 1e-9) - steps
                prompt_us += rest * STEPS[len(batch)]
                batch, steps = {one: left - rest for one, left in batch.items()}, steps + rest
            prompts.append([number, prompt_us, output])
        next_us = float(waiting[0][1][0]) if waiting else float("inf")
        if prompts:
            number, left, output = prompts[0]
            passed = min(left, next_us - now)
            prompts[0][1] -= passed
            now += passed
            if prompts[0][1] <= 1e-9:
                prompts.pop(0)
                if output > 1:
                    batch[int(number)] = output - 1
                else:
                    done[int(number)] = now
        elif batch:
            step = STEPS[len(batch)]
            passed = min(min(batch.values()) * step, next_us - now)
            now, steps = now + passed, steps + passed / step
            batch = {number: left - passed / step for number, left in batch.items()}
            for number in [number for number, left in batch.items() if left <= 1e-6]:
                del batch[number]
                done[number] = now
    return done


jobs = st.lists(st.tuples(st.integers(0, 20_000), st.integers(10, 5_000), st.integers(1, 20)), min_size=1, max_size=8)


@settings(max_examples=150, deadline=None)
@given(jobs)
def test_ends_are_those_of_a_plain_simulation(found: list[tuple[int, int, int]]):
    """And all time with work is shared out, once."""
    found = sorted(found)
    first, ends, shares, replica = run(found)
    assert {number: pytest.approx(at, abs=1) for number, at in plainly(found).items()} == ends
    assert set(first) == set(range(len(found)))
    assert sum(shares.values()) == pytest.approx(replica.busy_us, rel=1e-6)
    assert replica.due_us == NEVER


def test_a_lone_request_takes_its_prompt_and_its_steps():
    first, ends, shares, _ = run([(0, 500, 11)])
    assert (first[0], ends[0], shares[0]) == (500, 500 + 10 * 1100, 500 + 10 * 1100)


def test_half_of_the_cache_is_for_prefixes():
    """The one used longest ago goes first."""
    kept = SimReplica("r", Behaviour(STEPS, 8, 1000, 0), 0).kept
    asked = [(1, 300), (1, 300), (2, 150), (1, 250), (3, 100), (2, 150), (1, 100)]
    # 550 are more than 500, so the third lets 2 go, and 2 then 1
    assert [kept.take((one,)) for one in asked] == [0, 300, 0, 250, 0, 0, 0]
