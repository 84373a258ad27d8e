"""Two pools for one model by length: where requests go, how replicas follow, and when a pair is taken at all."""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.policy import cuts, performance
from headrace.policy.actions import Assign, Reject, Wait
from headrace.policy.dispatch import Dispatch
from headrace.policy.home import Home
from headrace.policy.known import HORIZON_US
from headrace.policy.performance import foretold
from headrace.policy.plan import plan
from headrace.policy.planning import Learned
from headrace.policy.sizing import ByWork
from headrace.specs import shapes
from headrace.specs.catalog import PoolSpec
from headrace.state.demand import LONG, SHORT, Demand, parts
from headrace.state.mix import added, size_class
from headrace.state.table import RouteCut
from headrace.state.work import WorkRate
from headrace.units import US_PER_HOUR
from tests.policy.cloud import (
    S,
    asked,
    catalog,
    demand,
    device,
    fleet,
    replica,
    request,
    route,
    running,
    spec,
    table,
)
from tests.policy.test_choice import LARGE, MODEL, SMALL, Hours
from tests.policy.test_choice import LONG as LONG_SIZE
from tests.policy.test_choice import SHORT as SHORT_SIZE

NOW = 1000 * S
RATE = WorkRate(fixed_ns=1_000, input_ns=100_000, output_ns=1_000, batch=2)  # a tenth of a millisecond a token
CUT = RouteCut(upto_tokens=511, pool="big", rate=RATE)
CUT_MODEL = route(cut=CUT, rate=RATE, ttft_us=2 * S, output_tokens_default=100)
HOLDS = 6_000
SMALL_SEAT, BIG_SEAT = replica("s", pool="little", holds_tokens=HOLDS), replica("b", pool="big")


def brain(*seats: object) -> Dispatch:
    made = Dispatch()
    made.update(table(CUT_MODEL, *seats), 0)  # type: ignore[arg-type]  # seats are of the table
    return made


def test_each_length_goes_to_its_pool_and_says_so() -> None:
    made = brain(SMALL_SEAT, BIG_SEAT)
    short, long = made.arrive(request("1", input_tokens=100), 0), made.arrive(request("2", input_tokens=600), 0)
    assert isinstance(short, Assign)
    assert isinstance(long, Assign)
    assert (short.replica, long.replica) == ("s", "b")
    assert "for prompts up to 511 tokens" in short.reason
    assert "for prompts over 511 tokens" in long.reason


def test_a_full_part_borrows_from_the_other_and_what_does_not_fit_waits() -> None:
    """Two long ones fill the big seat: the third goes to the small one, a fourth that has no room there never does."""
    made = brain(SMALL_SEAT, BIG_SEAT)
    for name in "12":
        made.arrive(request(name, input_tokens=600), 0)
    lent = made.arrive(request("3", input_tokens=600), 0)
    assert isinstance(lent, Assign)
    assert lent.replica == "s"
    assert "lent by the others" in lent.reason
    assert isinstance(made.arrive(request("4", input_tokens=5_995), 0), Wait)
    short = made.arrive(request("5", input_tokens=10), 0)  # it passes who cannot use that seat
    assert isinstance(short, Assign)
    assert short.replica == "s"
    answers = made.ended("1", S)
    assert [(one.request, one.replica) for one in answers if isinstance(one, Assign)] == [("4", "b")]


def test_what_would_be_late_on_the_other_pool_waits_for_its_own_unless_there_is_none() -> None:
    rate = WorkRate(fixed_ns=0, input_ns=1_000_000, output_ns=1_000, batch=2)  # 3,000 tokens take 3 s
    slow = route(cut=CUT, rate=rate, ttft_us=2 * S, output_tokens_default=100)
    made = Dispatch()
    made.update(table(slow, SMALL_SEAT, BIG_SEAT), 0)
    for name in "12":
        made.arrive(request(name, input_tokens=600), 0)
    assert isinstance(made.arrive(request("3", input_tokens=3_000), 0), Wait)
    alone = Dispatch()
    alone.update(table(slow, SMALL_SEAT), 0)
    found = alone.arrive(request("3", input_tokens=3_000), 0)
    assert isinstance(found, Assign)
    assert found.replica == "s"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 8_000), st.booleans()), max_size=40))
def test_nothing_is_lost_and_nothing_stands_where_it_does_not_fit(events: list[tuple[int, bool]]) -> None:
    made, running_, now_us = brain(SMALL_SEAT, BIG_SEAT), dict[str, str](), 0
    sizes, held = dict[str, int](), set[str]()
    for number, (tokens, ends) in enumerate([*events, *[(1, True)] * 80]):
        now_us += S
        answers = []
        if number < len(events):
            sizes[str(number)] = tokens
            answers.append(made.arrive(request(str(number), input_tokens=tokens, deadline_us=1 << 50), now_us))
        if ends and running_:
            name = next(iter(running_))
            del running_[name]
            answers += made.ended(name, now_us)
        for one in [*answers, *made.tick(now_us)]:
            if isinstance(one, Assign):
                assert one.replica == "b" or sizes[one.request] + 10 <= HOLDS
                held.discard(one.request)
                running_[one.request] = one.replica
            elif isinstance(one, Wait):
                held.add(one.request)
    assert not held
    assert not running_


def test_work_is_told_of_both_parts() -> None:
    made = brain(SMALL_SEAT, BIG_SEAT)
    for number, tokens in enumerate((100, 600, 600)):
        made.arrive(request(str(number), input_tokens=tokens), 0)
    (found,) = made.demand(S)
    short, long = parts(found)
    assert (short.of, long.of) == (f"m@v1/{SHORT}", f"m@v1/{LONG}")
    assert short.asked_us + long.asked_us == found.asked_us
    assert long.asked_us == 2 * RATE.work_us(600, 10)


def sized(short: float, long: float) -> tuple[ByWork, Demand]:
    """Sizing that was told for a quarter of an hour of so many replicas' work of either part."""
    sizing, now = ByWork(), demand()
    for at in range(90):
        now_us = NOW + (at - 90) * 10 * S
        total = round((at + 1) * 10 * S * (short + long))
        now = demand(asked_us=total, long_asked_us=round((at + 1) * 10 * S * long), in_flight=1, last_us=now_us)
        sizing.note({now.key: now} | {part.of: part for part in parts(now)}, now_us, now_us)
    return sizing, now


def test_each_part_is_sized_by_its_own_work_and_a_plan_that_was_carried_out_is_empty() -> None:
    model = spec(pools=("little", "big"), min_replicas=1, max_replicas=8, idle_to_zero_us=None)
    home = Learned(homes={"m@v1": Home(("little", "big"), {"little": 1.0, "big": 3.0}, "on both", CUT)})
    devices = device("d1", gib=16, pool="little"), device("d2", gib=16, pool="big")
    sizing, now = sized(2.6, 1.5)
    made = plan(catalog(model), fleet(*devices), asked(now), NOW, sizing, home)
    assert sorted(start.pool for start in made.starts) == ["big"] * 2 + ["little"] * 3
    assert all("prompts over 511 tokens" in start.reason for start in made.starts)
    there = [running(model, number, pool="little", device="d1") for number in (1, 2, 3)]
    there += [running(model, number, pool="big", device="d2") for number in (4, 5)]
    assert plan(catalog(model), fleet(*devices, *there), asked(now), NOW, sizing, home).quiet


def test_both_parts_together_keep_the_most_there_may_be() -> None:
    model = spec(pools=("little", "big"), min_replicas=1, max_replicas=3, idle_to_zero_us=None)
    home = Learned(homes={"m@v1": Home(("little", "big"), {"little": 1.0, "big": 3.0}, "on both", CUT)})
    devices = device("d1", gib=16, pool="little"), device("d2", gib=16, pool="big")
    sizing, now = sized(6.0, 5.0)
    made = plan(catalog(model), fleet(*devices), asked(now), NOW, sizing, home)
    assert len(made.starts) == 3
    assert {start.pool for start in made.starts} == {"little", "big"}


class TwoSizes(Hours):
    """Short and long requests at once."""

    def hours(self, hours: float, short: float, long: float) -> None:
        for _ in range(round(hours * US_PER_HOUR / (10 * S))):
            counts = {SHORT_SIZE: round(10 * short), LONG_SIZE: round(10 * long)}
            for (tokens, out), count in counts.items():
                self.sizes = added([self.sizes, {size_class(tokens): (count, count * tokens, count * out)}])
            self.now_us += 10 * S
            rate = self.choices.rates.get(MODEL.key)
            if rate is not None:
                work_us = short * rate.work_us(*SHORT_SIZE) + long * rate.work_us(*LONG_SIZE)
                self.sizing.is_steady = work_us / S
            there = [running(self.model, number, pool=pool) for number, pool in enumerate(self.stands())]
            told = asked(demand(sizes=self.sizes, in_flight=1, asked_us=1))
            self.choices.over(self.catalog, told, fleet(*there), self.sizing, self.now_us)
            self.moves += [(self.now_us, why) for why in self.choices.moves.values()]

    def stands(self) -> tuple[str, ...]:
        home = self.choices.homes.get(MODEL.key)
        return home.stands if home is not None else ()


def test_a_pair_is_taken_where_it_costs_less_and_left_when_it_does_not() -> None:
    """26 short and 5 long ones a second: two small and a large one instead of two large ones. Then all are short."""
    hours = TwoSizes(pools=(LARGE, SMALL), model=MODEL)
    hours.hours(1.5, 26, 4.8)
    assert hours.stands() == ("small", "large")
    assert hours.choices.cuts[MODEL.key].pool == "large"
    assert hours.sizing.able.keys() == {"m@v1", "m@v1/short", "m@v1/long"}
    hours.hours(1.5, 14, 0)
    assert hours.stands() == ("small",)
    assert not hours.choices.cuts
    assert hours.sizing.able.keys() == {"m@v1"}


@settings(max_examples=6, deadline=None)
@given(st.floats(1, 30), st.floats(0.5, 8))
def test_steady_traffic_of_two_lengths_moves_little_and_never_to_what_costs_more(short: float, long: float) -> None:
    hours = TwoSizes(pools=(SMALL, LARGE))
    hours.hours(1.5, short, long)
    moved = len(hours.moves)
    hours.hours(1.5, short, long)
    assert len(hours.moves) - moved <= 1
    options = hours.choices.options(MODEL.key)
    here = min(one.nanousd or 1e18 for one in options if one.pools == hours.stands())
    singles = [one.nanousd for one in options if len(one.pools) == 1 and one.nanousd is not None]
    assert here <= 1.06 * min(singles)


def test_who_may_have_one_replica_alone_is_never_cut() -> None:
    one = msgspec.structs.replace(MODEL, scaling=msgspec.structs.replace(MODEL.scaling, max_replicas=1))
    hours = TwoSizes(model=one, pools=(SMALL, PoolSpec(**msgspec.structs.asdict(LARGE))))
    hours.hours(0.5, 14, 4.8)
    assert len(hours.stands()) == 1


def test_before_any_choice_nothing_stands_where_it_has_no_room_and_shorter_ones_pass_it() -> None:
    """No cut yet: the seat that holds it may be the fuller one; when it is full it is waited for."""
    made = Dispatch()
    made.update(table(route(), SMALL_SEAT, BIG_SEAT), 0)
    for name in "12":
        found = made.arrive(request(name, input_tokens=7_000, deadline_us=1 << 50), 0)
        assert isinstance(found, Assign)
        assert found.replica == "b"
    assert isinstance(made.arrive(request("3", input_tokens=7_000, deadline_us=1 << 50), 0), Wait)
    short = made.arrive(request("4", input_tokens=10), 0)
    assert isinstance(short, Assign)
    assert short.replica == "s"
    answers = [*made.ended("4", S), *made.ended("1", S)]
    assert [(one.request, one.replica) for one in answers if isinstance(one, Assign)] == [("3", "b")]


def test_what_fits_nowhere_is_refused_at_once_with_the_figures() -> None:
    """Where a model is divided one that holds it is wanted and waited for: its replica may only be starting again."""
    made = Dispatch()
    made.update(table(route(), SMALL_SEAT), 0)
    found = made.arrive(request("1", input_tokens=7_000), 0)
    assert isinstance(found, Reject)
    assert (found.status, found.code) == (503, "model_unavailable")
    assert f"no replica with room for {7_000 + 10} tokens" in found.reason
    assert f"s on little holds the most, {HOLDS}" in found.reason
    assert isinstance(brain(SMALL_SEAT).arrive(request("1", input_tokens=7_000), 0), Wait)


def test_room_is_known_from_the_table_of_the_pool_and_only_where_it_is_less_than_the_context() -> None:
    model = msgspec.structs.replace(MODEL, shape=shapes.KNOWN["qwen3-32b"])
    holds = performance.holds_tokens(model, LARGE)
    known = foretold(model, LARGE)
    assert known is not None
    assert 0 < holds == known.kv_tokens < model.engine.context_tokens
    assert performance.holds_tokens(MODEL, LARGE) == 0
    assert performance.holds_tokens(msgspec.structs.replace(MODEL, shape=None), LARGE) == 0


@given(st.integers(0, 16), st.integers(2, 16), st.tuples(st.integers(1, 9), st.integers(1, 9)))
def test_a_minimum_is_shared_out_between_the_parts_as_the_other_version_has_it(
    least: int, most: int, split: tuple[int, int]
) -> None:
    limits = msgspec.structs.replace(MODEL.scaling, min_replicas=min(least, most), max_replicas=most)
    short, long = (one.scaling for one in cuts.parted(msgspec.structs.replace(MODEL, scaling=limits), split))
    assert short.min_replicas + long.min_replicas == max(2, min(least, most))
    assert min(short.min_replicas, long.min_replicas) >= 1
    assert abs(short.min_replicas - min(least, most) * split[0] / sum(split)) <= 1
    assert max(short.min_replicas, long.min_replicas) <= short.max_replicas == long.max_replicas == most - 1


def test_a_candidate_begins_divided_and_neither_version_moves_before_it_is_decided_nor_soon_after() -> None:
    """One small and three large ones has the one before: the candidate's minimum is shared out like that. Meanwhile
    nearly all prompts become short, so that the small pool alone costs less: an hour after the end it is taken.
    """
    hours = TwoSizes(pools=(LARGE, SMALL), model=MODEL)
    hours.hours(1.5, 26, 4.8)
    began_us, border = hours.now_us, hours.choices.cuts[MODEL.key]
    ends_us = began_us + 2 * US_PER_HOUR
    new = msgspec.structs.replace(MODEL, version="v2", weight=0)
    there = [running(MODEL, place, pool=pool) for place, pool in enumerate(("small", "large", "large", "large"))]
    both = msgspec.structs.replace(hours.catalog, models=(MODEL, new))
    hours.sizing.is_steady, moved = 0.02, dict[str, int]()
    while hours.now_us < ends_us + 1.5 * US_PER_HOUR:
        hours.now_us += 10 * S
        for tokens, count in ((SHORT_SIZE[0], 40), (LONG_SIZE[0], 2)):
            hours.sizes = added([hours.sizes, {size_class(tokens): (count, count * tokens, count * 100)}])
        told = asked(*(demand(key, sizes=hours.sizes, in_flight=1, asked_us=1) for key in (MODEL.key, new.key)))
        trying = {"m"} if hours.now_us < ends_us else set[str]()
        hours.choices.over(both, told, fleet(*there), hours.sizing, hours.now_us, trying)
        if hours.now_us == began_us + 10 * S:
            assert hours.choices.homes[new.key].split == (1, 3)
            assert hours.choices.cuts[new.key] == border
            there += [running(new, place, pool=pool) for place, pool in enumerate(("small", "large"))]
        moved |= {key: hours.now_us for key in hours.choices.moves if key not in moved}
    assert moved[MODEL.key] >= ends_us + HORIZON_US
    assert moved[new.key] >= ends_us  # it has no weight, as one that was rolled back
