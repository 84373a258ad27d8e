"""The twin and the live loop decide alike: the same policy objects, told the same demand, start and stop the same.

A day's hours are simulated once by the twin, which records what it was asked for in each round. Then the controller's own
loop, with its real store, publisher, actuator and leases over a simulated substrate, is told the same at the same
moments. When replicas boot is the same in both; names of replicas may differ, since the two forget drained ones at
different moments.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace.policy.sizing import ByWork
from headrace.specs.load import load_text
from headrace.state.demand import Demand
from headrace.state.fleet import Device
from headrace.state.table import Report
from headrace.twin import load
from headrace.twin.scenario import Options, scenario
from headrace.twin.world import World
from tests.control.sim import S, SimCloud
from tests.twin.test_choice import drifting

pytestmark = pytest.mark.anyio

BOOT_US = 30 * S
BEFORE_US = 100 * S  # the live clock when the trace begins
CLOUD = """\
version: 1
pools:
  gpus: {accelerator: nvidia-h200, count: 8, memory: 141GB, cpus: 8, price_per_hour: 3.50}
models:
  m:
    task: chat
    source: file:///w
    engine: {kind: vllm, slots: 96, context: 8192}
    memory: 120GB
    shape: {like: qwen3-32b}
    objective: {ttft: 2s, tpot: 50ms}
    scaling: {min: MIN, max: 8, idle_to_zero: IDLE, queue: 10000, wait_price: 0.01}
tenants: {default: {}}
"""


class Recorder(ByWork):
    """The policy itself, which also remembers what it was told, and what it wanted when it changed its mind."""

    def __init__(self) -> None:
        super().__init__()
        self.rounds: list[tuple[int, dict[str, Demand]]] = []

    def note(self, demand: Mapping[str, Demand], now_us: int, wall_us: int) -> None:
        self.rounds.append((now_us, dict(demand)))
        super().note(demand, now_us, wall_us)


def replicas_over_time(events: list[tuple[int, str]]) -> list[tuple[int, int]]:
    """Moments and how many more were wanted than stopped, at each."""
    found: dict[int, int] = {}
    for at_us, what in events:
        found[at_us] = found.get(at_us, 0) + (1 if what == "start" else -1)
    return sorted((at_us, change) for at_us, change in found.items() if change)


@pytest.mark.parametrize(
    ("source", "least", "idle"),
    [
        ("generate:diurnal,rate=14,hours=3,swing=0.9,input=900,output=110,seed=3", 1, "5m"),
        ("generate:onoff,rate=3,hours=3,on=240,off=900,input=900,output=110,seed=5", 0, "2m"),
        ("generate:onoff,rate=2,hours=3,on=60,off=600,input=900,output=110,seed=7", 0, "auto"),
    ],
)
async def test_the_live_loop_does_what_the_twin_foretold(tmp_path: Path, source: str, least: int, idle: str) -> None:
    wanted = load_text(CLOUD.replace("MIN", str(least)).replace("IDLE", idle), "test", (1 << 40, 64))
    sizing = Recorder()
    options = Options(boot_us=BOOT_US, round_us=5 * S, wall_us=BEFORE_US + 1_000_000 * S)
    world = World(scenario(wanted, load.load(source, None, 0), sizing=sizing, options=options), lambda *_: None)
    world.run()
    foretold = replicas_over_time([(at_us, what) for at_us, what, _, _ in world.log if what in ("start", "stop")])
    assert len(foretold) >= 4  # or there was nothing to agree on

    cloud = SimCloud(tmp_path, wanted)
    cloud.clock.us = BEFORE_US
    cloud.loop.machine = [
        Device(node="n", device=f"gpu{number}", pool="nvidia-h200", memory_bytes=141 * 10**9, cpus=8)
        for number in range(8)
    ]
    cloud.loop._wake_us[wanted.models[0].key] = BOOT_US
    live = await played(cloud, sizing.rounds)
    assert live == foretold


DRIFT = """\
version: 1
pools:
  l40s: {accelerator: nvidia-l40s, count: 8, memory: 48GB, cpus: 8, price_per_hour: 1.20}
  h100: {accelerator: nvidia-h100, count: 8, memory: 80GB, cpus: 8, price_per_hour: 2.95}
models:
  m:
    task: chat
    source: file:///w
    engine: {kind: vllm, slots: 64, context: 16384}
    memory: 44GB
    shape: {like: llama-3.1-8b}
    objective: {ttft: 2s, tpot: 50ms}
    scaling: {min: 1, max: 8, idle_to_zero: never, queue: 10000}
tenants: {default: {}}
"""


async def test_the_live_loop_changes_the_kind_of_gpu_when_the_twin_does(tmp_path: Path) -> None:
    """Prompts become long within an hour; both leave the one pool for the other in the same round."""
    wanted = load_text(DRIFT, "test", (1 << 40, 64))
    sizing = Recorder()
    trace = drifting(hours=2, rate=5)
    made = scenario(wanted, trace, sizing=sizing, options=Options(boot_us=BOOT_US, wall_us=BEFORE_US + 1_000_000 * S))
    world = World(made, lambda *_: None)
    world.run()
    foretold = replicas_over_time([(at_us, what) for at_us, what, _, _ in world.log if what in ("start", "stop")])
    assert [what for _, what, _, _ in world.log].count("move") == 1

    cloud = SimCloud(tmp_path, wanted)
    cloud.clock.us = BEFORE_US
    cloud.loop.machine = [
        Device(node="n", device=f"{kind}{number}", pool=f"nvidia {kind}", memory_bytes=size * 10**9, cpus=8)
        for kind, size in (("l40s", 48), ("h100", 80))
        for number in range(8)
    ]
    cloud.speeds.update(made.speeds)
    cloud.loop._wake_us[wanted.models[0].key] = BOOT_US
    assert await played(cloud, sizing.rounds) == foretold
    assert {replica.pool for replica in cloud.loop.fleet.replicas} == {"h100"}


async def played(cloud: SimCloud, rounds: list[tuple[int, dict[str, Demand]]]) -> list[tuple[int, int]]:
    """Tell the live loop the same; what it started and stopped, and when."""
    happened: list[tuple[int, str]] = []
    booted: dict[str, int] = {}
    seen = draining = 0
    for at_us, demand in rounds:
        cloud.clock.us = BEFORE_US + at_us
        for name, ready_us in list(booted.items()):
            if ready_us <= at_us:
                cloud.clock.us = BEFORE_US + ready_us
                cloud.substrate.become(name, "ready", pid=1)
                del booted[name]
        cloud.clock.us = BEFORE_US + at_us
        told = tuple(
            msgspec.structs.replace(one, last_us=one.last_us + BEFORE_US if one.last_us else 0)
            for one in demand.values()
        )
        fields: dict[str, Any] = {"worker": 0, "epoch": "g0", "pid": 1, "revision": cloud.publisher.revision}
        cloud.publisher.hear(Report(demand=told, **fields))
        before = {replica.id for replica in cloud.loop.fleet.replicas if replica.phase == "draining"}
        await cloud.loop.round()
        now = {replica.id for replica in cloud.loop.fleet.replicas if replica.phase == "draining"}
        happened += [(at_us, "stop")] * len(now - before)
        for name in cloud.substrate.launched[seen:]:
            booted[name] = at_us + BOOT_US
            happened.append((at_us, "start"))
        seen = len(cloud.substrate.launched)
        for name in cloud.substrate.stopped[draining:]:
            cloud.substrate.become(name, "stopped")
        draining = len(cloud.substrate.stopped)
    return replicas_over_time(happened)
