"""Sizing by work: what arrives, what waits, what is calm; and slots where no work is known."""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.policy import scaling
from headrace.policy.levels import CALM_US
from headrace.policy.plan import plan
from headrace.policy.sizing import ByWork
from headrace.specs.catalog import EngineSpec, Objective, Scaling
from headrace.state.demand import Demand
from tests.policy.cloud import asked, catalog, device, fleet, running, spec

S = 1_000_000
MODEL = spec(engine=EngineSpec(kind="llama_cpp", slots=8), scaling=Scaling(max_replicas=50), memory_bytes=1 << 20)


def demand(asked_us: int, *, in_flight: int = 1, backlog_us: int = 0, queued: int = 0, last_us: int = 0) -> Demand:
    return Demand(
        model="m", version="v1", window_us=S, in_flight=in_flight, queued=queued, asked_us=asked_us,
        backlog_us=backlog_us, last_us=last_us,
    )  # fmt: skip


def seen(load: float, seconds: int, boot_us: int = 5 * S) -> tuple[ByWork, int, int]:
    """A sizing that saw a steady load; the moment, and all work until then."""
    sizing, total = ByWork(), 0
    sizing.boot_us["m@v1"] = boot_us
    for second in range(seconds):
        total = int(load * second * S) + 1
        sizing.note({"m@v1": demand(total)}, second * S, second * S)
    return sizing, (seconds - 1) * S, total


def wanted(sizing: ByWork, have: int, now_us: int, one: Demand) -> int:
    return sizing.desired(MODEL, have, (), one, now_us).count


def test_a_second_of_work_a_second_asks_for_one_replica():
    """Whatever is in flight: six in flight or sixty, the work is what it is."""
    for load, count in ((0.1, 1), (0.9, 1), (2.7, 3), (7.5, 8)):
        sizing, now_us, total = seen(load, 300)
        for in_flight in (6, 60):
            assert wanted(sizing, 1, now_us, demand(total, in_flight=in_flight)) == count


def test_a_backlog_asks_for_as_many_as_work_it_off_in_the_time_of_a_start():
    sizing, now_us, total = seen(1.5, 300, boot_us=20 * S)
    waiting = demand(total, queued=10, backlog_us=60 * S)
    sizing.note({"m@v1": waiting}, now_us + S, now_us + S)
    assert wanted(sizing, 2, now_us + S, waiting) == 5


def test_what_is_too_many_goes_when_it_was_too_many_for_a_calm_time():
    sizing, now_us, total = seen(5.5, 300)
    more = int(now_us + CALM_US) // S
    for second in range(now_us // S, more + 200):
        sizing.note({"m@v1": demand(total + second)}, second * S, second * S)
        if second == now_us // S + 20:
            assert wanted(sizing, 6, second * S, demand(total)) == 6
    assert wanted(sizing, 6, (more + 199) * S, demand(total)) == 1


def test_a_controller_that_has_just_begun_takes_nobody_away():
    sizing = ByWork()
    sizing.note({"m@v1": demand(0)}, 0, 0)
    assert wanted(sizing, 7, 0, demand(0)) == 7
    sizing.note({"m@v1": demand(10)}, S, S)
    assert wanted(sizing, 7, S, demand(10)) == 7


def test_without_work_slots_decide():
    """A model of which no rate is known: 20 in flight on 8 slots, four fifths of them used."""
    sizing = ByWork()
    now_us = 10 * CALM_US
    for at in (0, now_us):
        sizing.note({"m@v1": demand(0, in_flight=20)}, at, at)
    assert wanted(sizing, 1, now_us, demand(0, in_flight=20)) == 4


def test_nobody_asks_and_it_goes_to_sleep():
    sizing, now_us, total = seen(0.5, 60)
    later = now_us + 1000 * S
    for at in range(now_us, later, 10 * S):
        sizing.note({"m@v1": demand(total, in_flight=0, last_us=now_us)}, at, at)
    assert wanted(sizing, 1, later, demand(total, in_flight=0, last_us=now_us)) == 0


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 12), st.integers(0, 8), st.integers(0, 40))
def test_a_plan_made_twice_is_empty(load: float, have: int, queued: int):
    """Also by work: the fleet after a plan is the fleet it wants."""
    sizing, now_us, total = seen(load, 120)
    one = demand(total, queued=queued, backlog_us=queued * S)
    sizing.note(asked(one), now_us + S, now_us + S)
    wants = catalog(MODEL)
    there = fleet(device("d1"), *(running(MODEL, number + 1) for number in range(have)))
    made = plan(wants, there, asked(one), now_us + S, sizing)
    gone = {stop.replica for stop in made.stops}
    after = fleet(
        device("d1"),
        *(replica for replica in there.replicas if replica.id not in gone),
        *(running(MODEL, 100 + number, phase="starting") for number in range(len(made.starts))),
    )
    again = plan(wants, after, asked(one), now_us + S, sizing)
    assert (again.starts, again.stops) == ((), ())


def test_announced_work_is_sized_like_work_that_waits():
    """A sleeping model wakes for it, wide enough; and sleeps on when it is over."""
    one = spec(engine=EngineSpec(kind="llama_cpp", slots=4), scaling=Scaling(max_replicas=4))
    nothing = Demand(model="m", version="v1", window_us=S)
    coming = Demand(model="m", version="v1", window_us=S, expected=8)
    for sizing in (scaling, ByWork(), seen(0.1, 300)[0]):
        want = sizing.desired(one, 0, (), coming, 300 * S)
        assert (want.count, "8 announced" in want.reason) == (3, True)
    assert scaling.desired(one, 0, (), nothing, 300 * S).count == 0


def paced(sizing: ByWork, load: float, minutes: int, kept: float, now_s: int = 300) -> int:
    """How many replicas are wanted after so many minutes of a load, of whose answers this part keeps its pace."""
    total, answers, slow, one = int(load * now_s * S) + 1, 0, 0, None
    for second in range(now_s, now_s + 60 * minutes, 10):
        total += int(load * 10 * S)
        answers, slow = answers + 100, slow + round(100 * (1 - kept))
        one = Demand(model="m", version="v1", window_us=S, in_flight=1, asked_us=total, paced=answers, slow=slow)
        sizing.note({"m@v1": one}, second * S, second * S)
    assert one is not None
    return wanted(sizing, 4, (now_s + 60 * minutes) * S, one)


def test_replicas_are_filled_less_while_too_few_answers_keep_their_pace():
    """And more when far more do; a little more than promised moves nothing, and neither does a model without a promise."""
    for kept, count in ((0.8, 4), (0.85, 4), (0.4, 6), (1.0, 4)):
        sizing, _, _ = seen(4.0, 300)
        sizing.tpot_percent["m@v1"] = 80
        assert paced(sizing, 4.0, 240, kept) == count, kept
    sizing, _, _ = seen(4.5, 300)
    sizing.tpot_percent["m@v1"] = 50
    assert paced(sizing, 4.5, 240, 1.0) == 4
    sizing, _, _ = seen(4.0, 300)
    assert paced(sizing, 4.0, 240, 0.1) == 4


def test_who_is_not_needed_stays_longer_while_more_first_tokens_are_late_than_were_promised():
    """A load that doubles for a minute, every four minutes: whether it is waited for follows the promise."""
    counts = {}
    for percent, late in ((99, 0), (99, 30), (70, 30)):
        sizing, total = ByWork(), 1
        model = msgspec.structs.replace(MODEL, objective=Objective(ttft_percent=percent))
        sizing.promise([model])
        for second in range(0, 3 * 3600 - 20, 10):
            total += int((3 if second // 60 % 4 else 6) * 10 * S)
            one = Demand(
                model="m", version="v1", window_us=S, in_flight=1, asked_us=total, begun=10 * second,
                late=late * second // 100,
            )  # fmt: skip
            sizing.note({"m@v1": one}, second * S, second * S)
        counts[percent, late] = wanted(sizing, 12, second * S, one)
    assert counts[99, 30] > counts[99, 0] == counts[70, 30]


def test_one_replica_teaches_nothing_about_how_full_others_may_be():
    """At night everybody keeps the pace; the morning is planned as if nothing had been seen."""
    sizing, _, _ = seen(0.5, 300)
    sizing.tpot_percent["m@v1"] = 50
    assert paced(sizing, 0.5, 600, 1.0) == 1
    assert "full" not in sizing.desired(MODEL, 1, (), demand(1), 400 * S).reason


def test_parts_of_a_model_that_was_known_for_a_moment_take_nobody_away_either():
    """Divided by a controller that has just begun: what it has not seen yet is not too much."""
    for seconds, count in ((20, 3), (300, 2)):
        sizing, now_us, total = seen(3.0, seconds)
        now_us += S
        sizing.divide("m@v1", {"m@v1/short": 0.5, "m@v1/long": 0.5}, now_us)
        part = msgspec.structs.replace(demand(total // 2), part="short")
        sizing.note({"m@v1/short": part}, now_us, now_us)
        assert wanted(sizing, 3, now_us, part) == count
