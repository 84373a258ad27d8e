"""Spot in the twin: devices are lost by seed, and what it comes to is told beside on demand."""

from headrace.specs.load import load_text
from headrace.twin.outcome import Outcome, outcome
from headrace.twin.trace import Trace
from headrace.twin.world import World
from tests.twin.clouds import made, steady

S = 1_000_000
FILE = """
version: 1
pools:
  spot: {{accelerator: nvidia-h200, count: 8, memory: 141GB, cpus: 8, price_per_hour: 1.32, interruptible: true,
         losses_per_day: {losses}, {notice}}}
  stays: {{accelerator: nvidia-h200, count: 8, memory: 141GB, cpus: 8, price_per_hour: 3.45}}
models:
  big:
    task: chat
    engine: {{kind: vllm, slots: 96, context: 32768}}
    source: hf://Qwen/Qwen3-32B
    memory: 120GB
    placement: {placement}
    shape: {{like: qwen3-32b}}
    objective: {{ttft: 2s, tpot: 50ms}}
    scaling: {{min: 1, max: 8, queue: 100000, idle_to_zero: 60s}}
"""


def ran(trace: Trace, placement: str, losses: float = 48, seed: int = 1, notice: str = "") -> tuple[World, Outcome]:
    catalog = load_text(FILE.format(placement=placement, losses=losses, notice=notice))
    warm = {"big@v1": 4}
    world = World(made(trace, catalog, boot_us=60 * S, spot_away_us=600 * S, seed=seed, warm=warm))
    world.run()
    return world, outcome(world, "x")


def test_spot_costs_less_and_keeps_its_promises_while_devices_are_lost() -> None:
    """Two an hour of each: it falls back and comes back, and only answers that had begun on a lost device fail."""
    trace = steady(18, 1800, seed=5)
    world, spot = ran(trace, "[spot, stays]")
    _, stays = ran(trace, "[stays]")
    what = [kind for _, kind, _, _ in world.log]
    assert what.count("spot.lost") >= 4
    assert what.count("died") >= 1
    assert "spot.back" in what
    assert any("on spot, so that" in why for _, kind, _, why in world.log if kind == "start")
    assert spot.cost_nanousd < 0.8 * stays.cost_nanousd
    assert spot.models[0].ttft.kept_ppm > stays.models[0].ttft.kept_ppm - 10_000
    assert spot.models[0].failed < spot.requests // 50


def test_the_market_is_the_same_whatever_a_policy_does_and_another_seed_is_another() -> None:
    trace = steady(4, 1800, seed=5)

    def losses(*more: object) -> list[tuple[int, str]]:
        world, _ = ran(trace, *more)
        return [(at, who) for at, what, who, _ in world.log if what in ("spot.lost", "spot.back")]

    assert losses("[spot, stays]") == losses("[stays]") != losses("[stays]", 48, 2)
    assert losses("[spot, stays]", 0) == []


def test_a_notice_saves_who_would_have_been_cut() -> None:
    """The same losses by seed, told two minutes before or not at all: fewer fail, and nobody is later."""
    trace = steady(18, 1800, seed=5)
    untold, told = ran(trace, "[spot, stays]"), ran(trace, "[spot, stays]", notice="notice: 120s")
    what = [kind for _, kind, _, _ in told[0].log]
    lost = [(at, who) for world, _ in (untold, told) for at, kind, who, _ in world.log if kind == "spot.lost"]
    assert lost[: len(lost) // 2] == lost[len(lost) // 2 :]
    assert what.count("spot.notice") >= what.count("spot.lost") > 0
    assert any("will be taken away" in why for _, kind, _, why in told[0].log if kind == "stop")
    assert untold[1].models[0].failed > 0
    assert told[1].models[0].failed == 0
    assert told[1].models[0].ttft.kept_ppm >= untold[1].models[0].ttft.kept_ppm


def test_of_two_spot_pools_the_cheaper_carries_the_load() -> None:
    """It costs less than an even spread, and keeps as much; the dearer one holds the one that stands apart."""
    more = "accelerator: nvidia-h200, count: 8, memory: 141GB, cpus: 8, interruptible: true, losses_per_day: 24"
    text = FILE.format(placement="[spot, west, stays]", losses=24, notice="")
    text = text.replace("pools:", f"pools:\n  west: {{{more}, price_per_hour: 0.90}}", 1)
    trace, found = steady(18, 1800, seed=5), {}
    for choose in ("cost", "order"):
        catalog = load_text(text.replace("    shape:", f"    choose: {choose}\n    shape:"))
        world = World(made(trace, catalog, boot_us=60 * S, spot_away_us=600 * S, seed=1, warm={"big@v1": 4}))
        world.run()
        found[choose] = world, outcome(world, "x")
    (by_cost, cheap), (_, even) = found["cost"], found["order"]
    time_us = dict.fromkeys(("west", "spot", "stays"), 0)
    for lease, _ in by_cost.fleet.ended:
        time_us[lease.pool] += lease.ended_us - lease.started_us
    assert time_us["west"] > time_us["spot"]
    assert any("on west at $" in why and "; spot at $" in why for _, what, _, why in by_cost.log if what == "start")
    assert cheap.cost_nanousd < 0.97 * even.cost_nanousd
    assert cheap.models[0].ttft.kept_ppm > even.models[0].ttft.kept_ppm - 5_000
