"""Sleep in the twin, by the code that decides it live: quicker than starts, paid at what is kept, and exact."""

from headrace.specs.load import load_text
from headrace.twin.load import load
from headrace.twin.outcome import Outcome, outcome
from headrace.twin.world import World
from tests.twin.clouds import made

S = 1_000_000
FILE = """
version: 1
pools:
  gpus: {{accelerator: nvidia-h100, count: 2, memory: 80GB, cpus: 8, price_per_hour: 2.00, host_memory: {ram}}}
models:
{models}
"""
MODEL = (
    "  model-{number}: {{task: chat, source: file:///w, memory: 70GB, shape: {{like: llama-3.1-8b}}, "
    "engine: {{kind: vllm, slots: 16, context: 8192, sleep_memory: 3GB}}, objective: {{ttft: 10s, tpot: 1s}}, "
    "scaling: {{min: 0, max: 1, idle_to_zero: {zero}, idle_to_sleep: {sleep}, wake: 2s}}}}"
)
TRACE = "generate:longtail,rate=0.05,hours=1,models=4,input=200,output=50,on=30,off=120,seed=1"


def ran(sleep: str, ram: str = "200GB", zero: str = "20m") -> tuple[World, Outcome]:
    models = "\n".join(MODEL.format(number=number, sleep=sleep, zero=zero) for number in range(4))
    world = World(made(load(TRACE, None, 0), load_text(FILE.format(models=models, ram=ram)), boot_us=60 * S))
    world.run()
    return world, outcome(world, "x")


def test_models_take_turns_on_two_devices_by_sleeping() -> None:
    """Starts of a minute become wakes of two seconds; the cost of sleep is its own part of the whole."""
    (without, plain), (world, slept) = ran("never"), ran("10s")
    starts = [sum(model.starts for model in found.models) for found in (plain, slept)]
    assert starts[1] < starts[0] / 2
    assert sum(model.wakes for model in slept.models) > 10
    held = [sum(model.ttft.kept_ppm * model.requests for model in found.models) for found in (plain, slept)]
    assert held[1] > held[0]
    for model in slept.models:
        assert sum(model.causes_nanousd.values()) == model.cost_nanousd
    assert sum(model.causes_nanousd["sleep"] for model in slept.models) > 0
    assert {kind for _, kind, _, _ in world.log} >= {"sleep", "wake"}
    assert not any(kind == "wake" for _, kind, _, _ in without.log)


def test_no_device_ever_gives_out_more_memory_than_it_has() -> None:
    """At each moment that leases tell of, sleepers counted at what they keep."""
    world, _ = ran("10s")
    leases = [lease for lease, _ in world.fleet.ended]
    for at in sorted({lease.started_us for lease in leases}):
        for device in ("gpus-0", "gpus-1"):
            live = [one for one in leases if one.device == device and one.started_us <= at < one.ended_us]
            assert sum(3 if one.way == "sleep" else 70 for one in live) <= 80


def test_without_ram_for_weights_nobody_sleeps() -> None:
    """As if sleep had not been asked for."""
    world, _ = ran("10s", ram="1GB")
    assert not any(kind == "sleep" for _, kind, _, _ in world.log)
