"""Every microsecond of a device is in exactly one part, and the parts add up to the nano-dollar."""

import itertools
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.economics import booking, sharing
from headrace.economics.booking import Tenure, book, cost_nanousd
from headrace.economics.sharing import Member
from headrace.economics.work import WorkModel

MODEL = WorkModel(prefill_ns=300_000, decode_ns=2_000_000, item_ns=5_000_000)


@st.composite
def tenures(draw: st.DrawFn, end: int = 5_000_000) -> list[Tenure]:
    found = []
    left = 1_000_000
    for number in range(draw(st.integers(0, 3))):
        share = draw(st.integers(1, left // 2))
        left -= share
        start = draw(st.integers(0, end))
        ready = draw(st.one_of(st.just(0), st.integers(start, end)))
        over = draw(st.one_of(st.just(0), st.integers(max(start, ready), end)))
        members = []
        for each in range(draw(st.integers(0, 6)) if ready else 0):
            begin = draw(st.integers(ready, over or end))
            finish = draw(st.integers(begin, over or end))
            members.append(
                Member(request=f"r{number}-{each}", start_us=begin, first_us=draw(st.integers(begin, finish)),
                       end_us=finish, prefill_tokens=draw(st.integers(0, 500)), decode_tokens=draw(st.integers(0, 99)),
                       failed=draw(st.booleans()))
            )  # fmt: skip
        found.append(
            Tenure(name=f"l{number}", model="m@v1", share_ppm=share, start_us=start, ready_us=ready, end_us=over,
                   drain_us=draw(st.one_of(st.just(0), st.integers(start, end))), members=tuple(members))
        )  # fmt: skip
    return found


@settings(max_examples=200, deadline=None)
@given(tenures(), st.integers(0, 10**10), st.integers(0, 2_000_000), st.integers(1, 3_000_000))
def test_parts_add_up_to_the_cost_and_to_the_time(found: list[Tenure], rate: int, start: int, length: int):
    """To the nano-dollar and to the microsecond; no part is negative, and own work is a part of it."""
    parts = book(rate, start, start + length, found, {"m@v1": MODEL}, "d")
    assert sum(part.nanousd for part in parts) == cost_nanousd(rate, start, start + length)
    assert sum(part.time_us for part in parts) == length
    assert all(part.nanousd >= part.own_nanousd >= 0 and part.time_us >= 0 for part in parts)
    assert booking.residual(parts, rate, start, start + length) == 0


@settings(max_examples=60, deadline=None)
@given(tenures(), st.integers(0, 10**10), st.lists(st.integers(1, 4_999_999), max_size=6))
def test_any_partition_of_a_time_costs_the_same(found: list[Tenure], rate: int, cuts: list[int]):
    """Booked in pieces or in one go."""
    idle = [Tenure(name=t.name, model=t.model, share_ppm=t.share_ppm, start_us=t.start_us, ready_us=t.ready_us,
                   end_us=t.end_us) for t in found]  # fmt: skip
    bounds = [0, *sorted(set(cuts)), 5_000_000]
    pieces = sum(p.nanousd for a, b in itertools.pairwise(bounds) for p in book(rate, a, b, idle, {}, "d"))
    assert pieces == sum(p.nanousd for p in book(rate, 0, 5_000_000, idle, {}, "d"))


def test_a_lone_request_bears_its_replica_while_it_is_there():
    """Half the device for a second, the other half is free; before it there was a load, after it idleness."""
    lease = Tenure(
        name="r/1", model="m@v1", share_ppm=500_000, start_us=0, ready_us=1_000_000, end_us=0, drain_us=2_500_000,
        members=(Member(request="q", start_us=1_000_000, first_us=1_100_000, end_us=2_000_000, decode_tokens=100),),
    )  # fmt: skip
    parts = {p.cause: p for p in book(3_600_000_000, 0, 3_000_000, [lease], {"m@v1": MODEL}, "d")}
    assert {cause: part.nanousd for cause, part in parts.items()} == {
        "load": 500_000, "request": 500_000, "idle": 250_000, "drain": 250_000, "free": 1_500_000,
    }  # fmt: skip
    assert parts["request"].own_nanousd == 99_999  # floor of 100 tokens of 2 ms are 0.2 s of a second


def test_what_fits_no_model_beside_others_is_a_fragment():
    """A tenth is left and the smallest model takes a fifth: a fragment, and free again when the device is empty."""
    lease = Tenure(name="r/1", model="m@v1", share_ppm=900_000, start_us=0, ready_us=0, end_us=1_000_000, members=())
    for least_ppm, cause in ((200_000, "fragment"), (100_000, "free"), (0, "free")):
        parts = book(3_600_000_000, 0, 1_000_000, [lease], {}, "d", least_ppm)
        assert {part.cause: part.nanousd for part in parts} == {"load": 900_000, cause: 100_000}
    after = book(3_600_000_000, 0, 2_000_000, [lease], {}, "d", 200_000)
    assert {part.cause: part.nanousd for part in after} == {"load": 900_000, "fragment": 100_000, "free": 1_000_000}


def test_two_together_split_the_fixed_part_evenly_and_bear_their_own():
    """Each its own work, and half of what is left."""
    big = Member(request="big", start_us=0, first_us=0, end_us=1_000_000, decode_tokens=300)
    small = Member(request="small", start_us=0, first_us=0, end_us=1_000_000, decode_tokens=100)
    lease = Tenure(name="l", model="m@v1", share_ppm=1_000_000, start_us=0, ready_us=0, end_us=0, members=(big, small))
    ready = Tenure(**{f: getattr(lease, f) for f in lease.__struct_fields__} | {"ready_us": 1, "start_us": 1})
    parts = {p.subject: p for p in book(3_600_000_000_000, 1, 1_000_000, [ready], {"m@v1": MODEL}, "d")}
    assert round(parts["big"].nanousd / 1e9, 3) == 0.7  # 0.6 s own, 0.1 s of the 0.2 s that are fixed
    assert round(parts["small"].nanousd / 1e9, 3) == 0.3


def test_busy_time_is_reproduced():
    """Over many overlapping requests, what they bear is the time at least one was there; nothing is modelled away."""
    rng = random.Random(7)
    members = tuple(
        Member(request=f"r{n}", start_us=(s := rng.randrange(1, 9_000_000)), first_us=s + 1000,
               end_us=s + rng.randrange(2000, 900_000), prefill_tokens=rng.randrange(900),
               decode_tokens=rng.randrange(200))
        for n in range(200)
    )  # fmt: skip
    lease = Tenure(name="l", model="m@v1", share_ppm=1_000_000, start_us=0, ready_us=1, end_us=0, members=members)
    parts = book(10**9, 0, 10_000_000, [lease], {"m@v1": MODEL}, "d")
    assert sum(p.time_us for p in parts if p.cause == "request") == sharing.busy_us(members)


def test_a_sleeper_is_booked_at_what_it_holds():
    """Awake a quarter of the device, asleep a hundredth, which is nobody's idle time; the rest is free."""
    awake = Tenure(name="r/1", model="m@v1", share_ppm=250_000, start_us=0, ready_us=1, end_us=1_000_000)
    asleep = Tenure(name="r/2", model="m@v1", share_ppm=10_000, start_us=1_000_000, ready_us=0, end_us=0, asleep=True)
    parts = book(3_600_000_000, 1_000_000, 3_000_000, [awake, asleep], {}, "d")
    assert {part.cause: (part.nanousd, part.time_us) for part in parts} == {
        "sleep": (20_000, 20_000), "free": (1_980_000, 1_980_000)
    }  # fmt: skip
