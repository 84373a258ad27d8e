"""A divided model beside all else that moves replicas: a new version, sleep, spot. Nothing is lost, nothing oscillates."""

from collections import Counter

from headrace.specs.catalog import Catalog
from headrace.specs.load import load_text
from headrace.twin.deployment import parse
from headrace.twin.outcome import Outcome, outcome
from headrace.twin.scenario import Options, scenario
from headrace.twin.trace import Trace, trace_of
from headrace.twin.world import World
from tests.twin.test_choice import CLOUD, S, cloud
from tests.twin.test_cuts import two_lengths

MINUTE = 60 * S


def ran(catalog: Catalog, trace: Trace, **options: object) -> tuple[World, Outcome]:
    given = {"boot_us": 120 * S, "warm": {"m@v1": 2}} | options
    world = World(scenario(catalog, trace, options=Options(**given)))  # type: ignore[arg-type]  # they are its fields
    world.run()
    return world, outcome(world, "headrace")


def changed(*pools: str, **words: str) -> Catalog:
    """The cloud of `test_choice`, with some words of its text replaced."""
    text = CLOUD.replace("PLACEMENT", str(list(pools)))
    had = {"engine": "context: 16384}", "l40s": "_hour: 1.20}", "scaling": "{min: 1, max: 16, idle_to_zero: never"}
    for before, after in words.items():
        assert had[before] in text
        text = text.replace(had[before], after)
    text = text.replace("cpus: 8,", "cpus: 8, host_memory: 400GB,")
    return load_text(text, "test", (1 << 40, 64))


def happened(world: World, *kinds: str) -> Counter[tuple[str, str]]:
    return Counter((what, about) for _, what, about, _ in world.log if what in kinds)


def test_a_good_version_is_promoted_though_its_model_may_live_in_several_pools() -> None:
    """It is tried on the pool that the other one lives on: elsewhere its tokens would be dearer by the GPU alone."""
    world, found = ran(cloud("l40s", "h100"), two_lengths(16, 4.8), deployments=(parse("m@v2,at=50m"),))
    assert found.rollouts[0].phase == "promoted"
    assert all(one.served == one.requests for one in found.models)
    assert happened(world, "move").total() <= 3  # in two hours, both versions together


def test_a_divided_model_goes_to_sleep_and_serves_all_when_it_is_asked_again() -> None:
    whole = two_lengths(14, 4.5)
    keep = (whole.arrival_us < 75 * MINUTE) | (whole.arrival_us > 95 * MINUTE)
    parts = {name: getattr(whole, name)[keep] for name in ("arrival_us", "input_tokens", "output_tokens")}
    sleeps = "{min: 0, max: 16, idle_to_zero: 60m, idle_to_sleep: 5m"
    catalog = changed("h100", "l40s", engine="context: 16384, sleep_memory: 3GB}", scaling=sleeps)
    world, found = ran(catalog, trace_of(parts, span_us=whole.span_us))
    (one,) = found.models
    assert one.served == one.requests
    assert {what for what, _ in happened(world, "sleep", "wake")} == {"sleep", "wake"}
    assert happened(world, "move")["move", "m@v1"] <= 4  # there and back, once for each of the two spells


def test_where_a_pool_is_spot_nothing_is_divided_and_nothing_is_lost() -> None:
    """Spot has rules of its own: a device that goes would take a whole part with it."""
    catalog = changed("h100", "l40s", l40s="_hour: 0.40, interruptible: true, losses_per_day: 24}")
    world, found = ran(catalog, two_lengths(14, 4.5))
    (one,) = found.models
    assert one.served == one.requests
    assert not happened(world, "move")
    assert happened(world, "start", "stop").total() <= 4
