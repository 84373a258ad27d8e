"""The choice of GPU type in the twin: traffic drifts from short to long prompts, and the fleet goes with it."""

import pytest

from headrace.twin.outcome import Outcome
from headrace.twin.world import World
from tests.twin.kinds import S, cloud, drifting, ran


@pytest.fixture(scope="module")
def runs() -> dict[str, tuple[World, Outcome]]:
    trace = drifting()
    placements = {"both": ("l40s", "h100"), "l40s": ("l40s",), "h100": ("h100",)}
    return {name: ran(cloud(*pools), trace) for name, pools in placements.items()}


@pytest.fixture(scope="module")
def steady() -> dict[str, Outcome]:
    trace = drifting(hours=4, rate=5)
    placements = {"both": ("l40s", "h100"), "l40s": ("l40s",), "h100": ("h100",)}
    return {name: ran(cloud(*pools), trace)[1] for name, pools in placements.items()}


def test_it_moves_to_the_other_gpu_and_costs_less_than_either(runs: dict[str, tuple[World, Outcome]]) -> None:
    cost = {name: found.cost_nanousd for name, (_, found) in runs.items()}
    assert cost["both"] < 0.95 * min(cost["l40s"], cost["h100"])
    moves = [why for _, what, _, why in runs["both"][0].log if what == "move"]
    assert len(moves) == 1
    assert moves[0].startswith("moves from l40s ")
    assert "moving costs $" in moves[0]


def test_where_one_is_enough_it_costs_no_more_than_the_best_that_stays(steady: dict[str, Outcome]) -> None:
    """Five requests a second: one H100 takes all of it, and the choice costs at most its moves more."""
    cost = {name: found.cost_nanousd for name, found in steady.items()}
    assert cost["both"] < 1.02 * min(cost["l40s"], cost["h100"])
    assert all(found.models[0].ttft.kept_ppm > 990_000 for found in steady.values())


def test_moving_drains_and_never_cuts(runs: dict[str, tuple[World, Outcome]]) -> None:
    """All are served, and the first tokens that are late are no more than on the dearest of the fleets that stay."""
    (model,) = runs["both"][1].models
    assert model.served == model.requests
    assert model.ttft.kept_ppm > 980_000


def test_every_start_says_what_the_other_gpu_would_cost(runs: dict[str, tuple[World, Outcome]]) -> None:
    starts = [why for at, what, _, why in runs["both"][0].log if what == "start" and at > 60 * S]
    assert starts
    assert all("l40s $" in why and "h100 $" in why for why in starts)
