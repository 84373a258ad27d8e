"""A divided model beside all else that moves replicas: a new version, sleep, spot. Nothing is lost, nothing oscillates."""

from collections import Counter

import numpy as np

from headrace.policy import performance
from headrace.policy.actions import Answer, Assign
from headrace.specs.catalog import Catalog
from headrace.specs.load import load_text
from headrace.twin.deployment import parse
from headrace.twin.outcome import Outcome, outcome
from headrace.twin.scenario import Options, scenario
from headrace.twin.trace import Trace, trace_of
from headrace.twin.world import World
from tests.twin.kinds import CLOUD, S, cloud, two_lengths

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


class Watched(World):
    """Counts requests that are sent where they do not fit, and where those of the last five minutes are sent: version,
    whether they are long, pool.
    """

    def __init__(self, catalog: Catalog, trace: Trace, deployed: str) -> None:
        given = Options(boot_us=120 * S, warm={"m@v1": 2}, deployments=(parse(deployed),))
        super().__init__(scenario(catalog, trace, options=given))
        self.sent: Counter[tuple[str, bool, str]] = Counter()
        self.misplaced = 0

    def _act(self, answer: Answer) -> None:
        if isinstance(answer, Assign):
            trace, at, replica = self.scenario.trace, int(answer.request), self.fleet.running[answer.replica].replica
            model, pool = self.scenario.catalog.model(replica.key), self.scenario.catalog.pool(replica.pool)
            assert model is not None
            assert pool is not None
            holds = performance.holds_tokens(model, pool) or model.engine.context_tokens
            tokens = int(trace.input_tokens[at])
            self.misplaced += tokens + int(trace.output_tokens[at]) > holds
            if self.now_us > trace.span_us - 5 * MINUTE:
                self.sent[replica.version, tokens > 4_000, pool.name] += 1
        super()._act(answer)

    def divides(self, version: str, short: str, long: str) -> bool:
        """Whether all those were sent to that version, and four of five to the pool of their length (others are lent)."""
        right = self.sent[version, False, short], self.sent[version, True, long]
        return min(right) > 0 and sum(right) > 0.8 * self.sent.total()


def narrow() -> Catalog:
    """An L4 beside the H100: it has no room for the longest prompts."""
    text = CLOUD.replace("PLACEMENT", "[h100, l4]")
    for before, after in {
        "l40s: {accelerator: nvidia-l40s": "l4: {accelerator: nvidia-l4",
        "48GB, cpus: 8, price_per_hour: 1.20": "24GB, cpus: 8, price_per_hour: 0.30",
        "80GB, cpus": "43GB, cpus",  # so that one replica has a device to itself
        "memory: 44GB": "memory: 22GB",
        "tpot: 50ms": "tpot: 100ms",
    }.items():
        assert before in text
        text = text.replace(before, after)
    return load_text(text, "test", (1 << 40, 64))


def with_longest(trace: Trace) -> Trace:
    """One in forty of the long prompts, or about that, nearly fills the context."""
    rare = (trace.input_tokens > 4_000) & (np.arange(len(trace)) % 37 == 0)
    sizes = {"input_tokens": np.where(rare, 15_800, trace.input_tokens), "output_tokens": trace.output_tokens}
    return trace_of({"arrival_us": trace.arrival_us, **sizes}, span_us=trace.span_us)


def test_a_good_version_beside_a_divided_one_is_tried_divided_promoted_and_served_so() -> None:
    """On both pools at the border of the one before; prompts never go where they do not fit, not on the way either."""
    catalog, trace = narrow(), with_longest(two_lengths(8, 4.8, hours=1.6))
    world = Watched(catalog, trace, "m@v2,at=85m")
    world.run()
    found = outcome(world, "headrace")
    moves = [(at, about) for at, what, about, _ in world.log if what == "move"]
    assert [about for at, about in moves if at < 85 * MINUTE] == ["m@v1"]  # it stands divided
    starts = [why for _, what, about, why in world.log if what == "start" and about.startswith("m-v2-")]
    assert all("divided as m@v1 is" in why for why in starts[:2])
    (one,) = found.rollouts
    assert one.phase == "promoted"
    assert one.steps[1].at_us == 87 * MINUTE  # both parts were ready
    assert all(model.served == model.requests for model in found.models)
    assert not world.misplaced
    assert (trace.input_tokens > 15_563).sum() > 100  # more than the L4 holds
    home = world._choices.homes["m@v2"]
    assert home.stands == ("l4", "h100")
    assert world.divides("v2", *home.stands)
    assert "m@v2" not in {about for _, about in moves}


def test_a_slower_version_beside_a_divided_one_goes_back_and_that_one_stays_divided() -> None:
    """Compared on one pool it would not be seen: a slow one on the H100 is as fast as a good one on the L40S."""
    world = Watched(cloud("h100", "l40s"), two_lengths(14, 4.5, hours=1.6), "m@v2,at=75m,speed=0.6")
    world.run()
    found = outcome(world, "headrace")
    (one,) = found.rollouts
    assert one.phase == "rolled_back"
    assert "more dear tokens" in one.verdict
    assert all(model.served == model.requests for model in found.models)
    assert not world.misplaced
    moves = [at for at, what, about, _ in world.log if (what, about) == ("move", "m@v1")]
    assert len(moves) == 1
    assert moves[0] < 75 * MINUTE
    assert world._choices.homes["m@v1"].stands == ("l40s", "h100")
    assert world.divides("v1", "l40s", "h100")


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
