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

from headrace.policy.rollouts import USUAL, How, Rollouts, Round
from headrace.policy.sizing import ByWork
from headrace.specs.catalog import Catalog, ModelSpec
from headrace.specs.load import load_text
from headrace.state.demand import Demand
from headrace.state.fleet import Device
from headrace.state.rollout import Rollout
from headrace.state.table import Report
from headrace.state.usage import Usage
from headrace.twin import load
from headrace.twin.deployment import parse
from headrace.twin.scenario import Options, scenario
from headrace.twin.world import World
from tests.control.sim import S, SimClock, SimCloud
from tests.twin.kinds import drifting

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


class Heard(Rollouts):
    """The policy itself, which also remembers what it was told, and when it was asked."""

    def __init__(self, like: Rollouts, log: list[tuple[str, Any]]) -> None:
        super().__init__(like._last, {})
        self.log = log

    def begun(self, declared: Catalog, candidate: ModelSpec, now_us: int, how: How = USUAL) -> Rollout:
        self.log.append(("deploy", (now_us, candidate, how)))
        return super().begun(declared, candidate, now_us, how)

    def heard(self, row: Usage) -> None:
        self.log.append(("row", row))
        super().heard(row)

    def turn(self, seen: Round, now_us: int) -> list[tuple[str, Rollout]]:
        self.log.append(("turn", now_us))
        return super().turn(seen, now_us)


class Log(Recorder):
    """Rounds, in the same order as all else."""

    def __init__(self, log: list[tuple[str, Any]]) -> None:
        super().__init__()
        self.log = log

    def note(self, demand: Mapping[str, Demand], now_us: int, wall_us: int) -> None:
        self.log.append(("round", (now_us, dict(demand))))
        super().note(demand, now_us, wall_us)


@pytest.mark.parametrize(
    ("said", "ends"),
    [
        ("", "promoted"),
        ("errors=30%", "rolled_back"),
        ("speed=0.4", "rolled_back"),
        ("first=100,errors=20%", "rolled_back"),
        ("shadow=40%,errors=20%", "step"),
    ],
)
async def test_the_live_loop_rolls_out_as_the_twin_foretold(tmp_path: Path, said: str, ends: str) -> None:
    """From the same requests: the same steps at the same moments in the same words, and the same starts and stops."""
    wanted = load_text(CLOUD.replace("MIN", "1").replace("IDLE", "5m"), "test", (1 << 40, 64))
    log: list[tuple[str, Any]] = []
    deployed = parse(",".join(("m@v2", "at=6m", *filter(None, [said]))))
    options = Options(boot_us=BOOT_US, wall_us=BEFORE_US + 1_000_000 * S, deployments=(deployed,))
    trace = load.load("generate:poisson,rate=2,hours=0.5,input=900,output=110,seed=3", None, 0)
    world = World(scenario(wanted, trace, sizing=Log(log), options=options), lambda *_: None)
    world.rollouts.policy = Heard(world.rollouts.policy, log)
    world.run()
    foretold = [(at_us, what, who, why) for at_us, what, who, why in world.log if what.startswith("rollout.")]
    assert foretold[-1][1] == f"rollout.{ends}"

    clock = SimClock()
    clock.us = BEFORE_US
    cloud = SimCloud(tmp_path, world.scenario.catalog, clock)
    cloud.rollouts_changed()
    cloud.loop.machine = [
        Device(node="n", device=f"gpu{number}", pool="nvidia-h200", memory_bytes=141 * 10**9, cpus=8)
        for number in range(8)
    ]
    cloud.loop._wake_us.update(world.scenario.boot_us)
    happened = await rolled_out(cloud, log)
    cloud.records.flush()
    since_us = BEFORE_US + 1_000_000 * S
    told = [one for one in reversed(cloud.store.decisions(limit=10_000)) if one.kind.startswith("rollout.")]
    assert [(one.at_us - since_us, one.kind, one.subject, one.reason) for one in told] == foretold
    assert happened == replicas_over_time([(at, what) for at, what, _, _ in world.log if what in ("start", "stop")])


async def rolled_out(cloud: SimCloud, log: list[tuple[str, Any]]) -> list[tuple[int, int]]:
    """Tell the live loop the same demand and the same requests; it judges when the twin did."""
    since_us, live, judged = BEFORE_US + 1_000_000 * S, Live(cloud), False
    for what, told in log:
        if what == "row":
            moments = {name: getattr(told, name) + since_us for name in ("arrived_us", "ended_us")}
            row = msgspec.structs.replace(told, **moments)
            cloud.store.usage_add([row], {})
            cloud.rollouts.heard(row)
        elif what == "deploy":
            live.at(told[0])
            cloud.rollouts.deploy(cloud.declared, told[1], told[2])
            cloud.rollouts_changed()
        elif what == "round":
            await live.round(*told)
            judged = True
        elif judged:
            judged = False  # a round ends with it
        else:
            live.at(told)
            cloud.loop.observe()
            cloud.judge()
    return replicas_over_time(live.happened)


class Live:
    """A live loop that is told what the twin's was, and at the same moments; replicas boot as long as there."""

    def __init__(self, cloud: SimCloud) -> None:
        self.cloud = cloud
        self.happened: list[tuple[int, str]] = []
        self._booted: dict[str, int] = {}
        self._launched = self._stopped = 0

    def at(self, at_us: int) -> None:
        """It is that late; who has booted meanwhile is ready."""
        cloud = self.cloud
        for name, ready_us in list(self._booted.items()):
            if ready_us <= at_us:
                cloud.clock.us = BEFORE_US + ready_us
                cloud.substrate.become(name, "ready", pid=1)
                del self._booted[name]
        cloud.clock.us = BEFORE_US + at_us

    async def round(self, at_us: int, demand: dict[str, Demand]) -> None:
        """One round, and what it started and stopped."""
        cloud = self.cloud
        self.at(at_us)
        told = tuple(
            msgspec.structs.replace(one, last_us=one.last_us + BEFORE_US if one.last_us else 0)
            for one in demand.values()
        )
        fields: dict[str, Any] = {"worker": 0, "epoch": "g0", "pid": 1, "revision": cloud.publisher.revision}
        cloud.publisher.hear(Report(demand=told, **fields))
        before = {replica.id for replica in cloud.loop.fleet.replicas if replica.phase == "draining"}
        await cloud.loop.round()
        now = {replica.id for replica in cloud.loop.fleet.replicas if replica.phase == "draining"}
        self.happened += [(at_us, "stop")] * len(now - before)
        for name in cloud.substrate.launched[self._launched :]:
            self._booted[name] = at_us + BOOT_US
            self.happened.append((at_us, "start"))
        self._launched = len(cloud.substrate.launched)
        for name in cloud.substrate.stopped[self._stopped :]:
            cloud.substrate.become(name, "stopped")
        self._stopped = len(cloud.substrate.stopped)


async def played(cloud: SimCloud, rounds: list[tuple[int, dict[str, Demand]]]) -> list[tuple[int, int]]:
    """Tell the live loop the same; what it started and stopped, and when."""
    live = Live(cloud)
    for at_us, demand in rounds:
        await live.round(at_us, demand)
    return replicas_over_time(live.happened)
