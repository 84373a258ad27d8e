"""Parts of devices in the twin: what fits is placed, what it holds is what it costs, and nothing is overfull."""

from headrace.specs.load import load_text
from headrace.twin.outcome import outcome
from headrace.twin.world import World
from tests.twin.clouds import made, steady

S = 1_000_000
FILE = """
version: 1
pools:
  gpus: {{accelerator: nvidia-h100, count: 2, {cut}, cpus: 8, price_per_hour: 2.00}}
models:
  big:
    task: chat
    engine: {{kind: vllm, slots: 8, context: 4096}}
    source: hf://a/b
    memory: 30GB
    shape: {{like: llama-3.1-8b}}
    objective: {{ttft: 2s, tpot: 50ms}}
    scaling: {{min: 1, max: 9, queue: 10000}}
"""


def ran(cut: str, rate: float) -> World:
    world = World(made(steady(rate, 300), load_text(FILE.format(cut=cut)), boot_us=10 * S))
    world.run()
    return world


def test_two_parts_of_four_cost_half_a_device_and_two_such_replicas_fill_it() -> None:
    world = ran("memory: 80GB, share: 0.25", 30)
    leases = [lease for lease, _ in world.fleet.ended]
    assert {(lease.share_ppm, lease.memory_bytes) for lease in leases} == {(500_000, 40 * 10**9)}
    assert max(have for _, _, have, _ in world.counts) == 4
    assert outcome(world, "x").models[0].served > 0


def test_an_instance_is_paid_with_what_its_profile_leaves_unused() -> None:
    """Two 3g.40gb of an H100, each half of its price; four replicas on two devices."""
    world = ran("mig: 3g.40gb", 30)
    leases = [lease for lease, _ in world.fleet.ended]
    assert {lease.share_ppm for lease in leases} == {1_000_000}
    assert max(have for _, _, have, _ in world.counts) == 4
    hour = max(leases, key=lambda lease: lease.ended_us - lease.started_us)
    expected = (hour.ended_us - hour.started_us) * 1_000_000_000 // 3_600_000_000
    assert abs(world.fleet.cost_nanousd(hour) - expected) <= 1
