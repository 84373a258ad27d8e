"""A model in two pools at once, in the twin: short prompts beside long ones, against each pool alone and the optimum."""

import pytest

from headrace.twin.mixes import mixed
from headrace.twin.outcome import Outcome
from headrace.twin.world import World
from tests.twin.kinds import S, cloud, ran, two_lengths

HOURS = 2


@pytest.fixture(scope="module")
def runs() -> dict[str, tuple[World, Outcome]]:
    trace = two_lengths(14, 4.5)
    return {name: ran(cloud(*pools), trace) for name, pools in {"pair": ("h100", "l40s"), "h100": ("h100",)}.items()}


def test_a_pair_costs_less_than_the_best_pool_alone_and_everybody_is_served_in_time(
    runs: dict[str, tuple[World, Outcome]],
) -> None:
    (pair,), (alone,) = runs["pair"][1].models, runs["h100"][1].models
    assert runs["pair"][1].cost_nanousd < 0.9 * runs["h100"][1].cost_nanousd
    assert pair.served == pair.requests == alone.served
    assert pair.ttft.kept_ppm > 990_000
    assert pair.tpot.kept_ppm > 800_000


def test_it_is_near_the_optimum_of_the_planner(runs: dict[str, tuple[World, Outcome]]) -> None:
    best = mixed(cloud("l40s", "h100"), two_lengths(14, 4.5), names={}, room=0.1)
    assert best.replicas == {"m@v1 h100": 1, "m@v1 l40s": 1}
    assert runs["pair"][1].cost_nanousd < 1.25 * HOURS * best.nanousd_per_hour


def test_steady_traffic_of_two_lengths_is_divided_once_and_told(runs: dict[str, tuple[World, Outcome]]) -> None:
    moves = [why for _, what, _, why in runs["pair"][0].log if what == "move"]
    assert len(moves) == 1
    assert moves[0].startswith("moves from h100 $")
    assert "to l40s for prompts up to " in moves[0]
    starts = [why for at, what, _, why in runs["pair"][0].log if what == "start" and at > 60 * S]
    assert any("prompts up to " in why and "prompts over " in why for why in starts)
