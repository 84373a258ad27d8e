"""Between hot and gone: who sleeps and when, who is woken instead of started, who makes room by sleeping."""

import random

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from headrace.policy.actions import Plan
from headrace.policy.keepalive import Keep, Keepalive
from headrace.policy.plan import plan
from headrace.policy.planning import Learned
from headrace.specs.catalog import Catalog, EngineSpec, ModelSpec, PoolSpec, Sleep
from headrace.state.fleet import Device, Replica
from headrace.state.gaps import Gaps
from tests.policy.cloud import GIB, S, asked, catalog, demand, device, fleet, running, spec

NOW = 100_000 * S
PRICED = PoolSpec(name="a", accelerator="x", count=1, memory_bytes=8 * GIB, price_nanousd_per_hour=3_600_000_000)
KEPT = GIB // 8


def sleeper(key: str, host_bytes: int = 0, **changed: object) -> ModelSpec:
    """A model of 4 GiB that keeps an eighth of one asleep."""
    rest = Sleep(kept_bytes=KEPT, host_bytes=host_bytes)
    fields = {"memory_bytes": 4 * GIB, "idle_to_sleep_us": 20 * S, "idle_to_zero_us": 300 * S}
    return spec(key, engine=EngineSpec(kind="llama_cpp", slots=2, sleep=rest), **(fields | changed))


def at(model: ModelSpec, phase: str, number: int = 1, **changed: object) -> Replica:
    rest = model.engine.sleep
    kept = {"kept_bytes": rest.kept_bytes, "host_bytes": rest.host_bytes} if rest else {}
    return running(model, number, phase=phase, **(kept | changed))


def made(*parts: Device | Replica, of: Catalog, learned: Learned = Learned(), **calls: dict[str, int]) -> Plan:  # noqa: B008 - frozen
    demands = [demand(f"{name}@v1", **fields) for name, fields in calls.items()]
    return plan(of, fleet(*parts), asked(*demands), NOW, learned=learned)


def ago(seconds: int) -> dict[str, int]:
    return {"last_us": NOW - seconds * S}


def test_an_idle_replica_sleeps_first_and_goes_later() -> None:
    """Twenty seconds awake, until five minutes asleep; both counted from the last use."""
    x = sleeper("x@v1")
    both = catalog(x)
    assert made(device(), at(x, "ready"), of=both, x=ago(19)).quiet
    assert [one.replica for one in made(device(), at(x, "ready"), of=both, x=ago(21)).sleeps] == [at(x, "ready").id]
    assert made(device(), at(x, "asleep"), of=both, x=ago(299)).quiet
    stops = made(device(), at(x, "asleep"), of=both, x=ago(301)).stops
    assert [stop.reason for stop in stops] == ["not used for 5.02 min and asleep; it is kept for 5 min"]


def test_a_minimum_and_an_engine_that_cannot_sleep_stay_as_they_were() -> None:
    """What always runs does; without sleep the idle time to nothing alone counts."""
    always, plain = sleeper("x@v1", min_replicas=1), spec("y@v1", idle_to_sleep_us=20 * S)
    assert made(device(), at(always, "ready"), of=catalog(always), x=ago(5_000)).quiet
    assert made(device(), at(plain, "ready"), of=catalog(plain), y=ago(299)).quiet
    assert made(device(), at(plain, "ready"), of=catalog(plain), y=ago(301)).stops


def test_a_request_wakes_and_starts_nothing() -> None:
    """On its device, at what it lacks."""
    x = sleeper("x@v1")
    found = made(device(gib=4), at(x, "asleep"), of=catalog(x), x={"queued": 1})
    assert ([one.replica for one in found.wakes], found.starts) == ([at(x, "asleep").id], ())


def test_one_that_dozes_stays_awake_when_it_is_asked() -> None:
    """Unless what it frees is promised already."""
    x = sleeper("x@v1")
    found = made(device(), at(x, "dozing"), of=catalog(x), x={"queued": 1})
    assert ([one.replica for one in found.wakes], found.starts) == ([at(x, "dozing").id], ())


def test_models_swap_on_one_device_by_sleeping() -> None:
    """y is idle and falls asleep for x; x waits for that, and wakes when it is done."""
    x, y = sleeper("x@v1"), sleeper("y@v1", idle_to_sleep_us=1000 * S, idle_to_zero_us=None)
    both, card = catalog(x, y), device(gib=5)
    found = made(card, at(x, "asleep"), at(y, "ready"), of=both, x={"queued": 1}, y=ago(5))
    assert [one.replica for one in found.sleeps] == [at(y, "ready").id]
    assert (found.starts, found.stops, found.wakes) == ((), (), ())
    assert "waits for 3.9 GiB on d1, which is being freed, to wake" in found.holds[0].reason
    waiting = made(card, at(x, "asleep"), at(y, "dozing"), of=both, x={"queued": 1}, y=ago(5))
    assert waiting.quiet
    assert "is being freed, to wake" in waiting.holds[0].reason
    done = made(card, at(x, "asleep"), at(y, "asleep"), of=both, x={"queued": 1}, y=ago(5))
    assert [one.replica for one in done.wakes] == [at(x, "asleep").id]


def test_without_ram_for_its_weights_nobody_sleeps() -> None:
    """It goes instead, when its time is over or somebody needs the room."""
    x, y = sleeper("x@v1", host_bytes=4 * GIB), sleeper("y@v1")
    poor, rich = device(gib=5), msgspec.structs.replace(device(gib=5), host_bytes=4 * GIB)
    assert made(poor, at(x, "ready"), of=catalog(x), x=ago(21)).quiet
    assert made(rich, at(x, "ready"), of=catalog(x), x=ago(21)).sleeps
    for card in (poor, rich):
        found = made(card, at(x, "ready"), of=catalog(x, y), x=ago(5), y={"queued": 1})
        assert (len(found.stops), len(found.sleeps)) == ((1, 0) if card is poor else (0, 1))


def test_a_start_elsewhere_is_taken_when_it_costs_less_than_the_room_to_wake() -> None:
    """d2 is free, a start takes 4 s and a wake 3: nobody who is due any moment sleeps for one second."""
    x, y = sleeper("x@v1"), sleeper("y@v1", idle_to_sleep_us=1000 * S, idle_to_zero_us=None)
    priced = msgspec.structs.replace(catalog(x, y), pools=(PRICED,))
    parts = (device(gib=5), device("d2", gib=5), at(x, "asleep"), at(y, "ready"))
    learned = Learned({"x@v1": 4 * S, "y@v1": 60 * S})
    quick = made(*parts, of=priced, x={"queued": 1}, y=ago(1), learned=learned)
    assert ([start.device for start in quick.starts], quick.sleeps) == (["d2"], ())
    slow = made(*parts, of=priced, x={"queued": 1}, y=ago(1), learned=Learned({"x@v1": 60 * S, "y@v1": 60 * S}))
    assert (slow.starts, len(slow.sleeps)) == ((), 1)


def keep(gaps: Gaps, *, boot_s: float, wake_s: float, **changed: object) -> Keep:
    model = sleeper("x@v1", sleep_auto=True, idle_to_sleep_us=None, idle_auto=True, **changed)
    kept = Keepalive()
    kept.gaps["x@v1"] = gaps
    return kept.keep(model, msgspec.structs.replace(catalog(), pools=(PRICED,)), round(boot_s * S), round(wake_s * S))


def cost(found: Keep, gap_s: float, boot_s: float, wake_s: float) -> float:
    """Of one gap, in nano-dollars, with a device's half awake and its 64th asleep."""
    awake, asleep, wait = 0.5e6, 1e6 / 64, 1e6
    sleep_s, gone_s = (found.until_us if found.sleep_us is None else found.sleep_us) / S, found.until_us / S
    if gap_s <= sleep_s:
        return awake * gap_s
    if gap_s <= gone_s:
        return awake * sleep_s + asleep * (gap_s - sleep_s) + wake_s * (awake + wait)
    return awake * sleep_s + asleep * (gone_s - sleep_s) + boot_s * (awake + wait)


@given(st.floats(5, 600), st.floats(0.1, 1), st.integers(1, 200_000))
def test_before_anything_is_known_it_costs_at_most_twice_the_least(boot_s: float, part: float, gap_s: int) -> None:
    """Whatever the gap: the lower envelope of awake, asleep and gone."""
    wake_s = boot_s * part
    found = keep(Gaps(), boot_s=boot_s, wake_s=wake_s)
    least = min(
        cost(Keep(1 << 60), gap_s, boot_s, wake_s),
        cost(Keep(1 << 60, sleep_us=0), gap_s, boot_s, wake_s),
        cost(Keep(0), gap_s, boot_s, wake_s),
    )
    assert cost(found, gap_s, boot_s, wake_s) <= 2 * least * 1.01 + 1e6


def test_learned_gaps_choose_among_awake_asleep_and_gone() -> None:
    """Short gaps are met awake, long ones asleep, endless ones cost nothing."""
    chance = random.Random(1)

    def learned(of_s: float) -> Gaps:
        gaps = Gaps()
        for _ in range(60):
            gaps = gaps.seen(round(of_s * S * chance.uniform(0.7, 1.3)))
        return gaps

    short, middle, endless = (keep(learned(of_s), boot_s=60, wake_s=3) for of_s in (4, 1_500, 60_000))
    assert short.until_us >= 4 * S
    assert middle.sleep_us is not None
    assert middle.sleep_us <= 30 * S
    assert middle.until_us >= 1_500 * S
    assert endless.until_us <= 60 * S


def test_sleep_that_gains_nothing_is_left_out() -> None:
    """A wake that takes as long as a start."""
    assert keep(Gaps(), boot_s=3, wake_s=3).sleep_us is None
