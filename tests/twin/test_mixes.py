"""The mix of pools for a trace's lengths: what is bought, what it rests on, and what is missing."""

import numpy as np
import pytest

from headrace.errors import Invalid
from headrace.specs.load import load_text
from headrace.twin.mixes import mixed
from headrace.twin.trace import Trace, merge, trace_of
from tests.twin.clouds import steady

FILE = """
version: 1
pools:
  cheap: {accelerator: nvidia-l4, count: 40, memory: 24GB, cpus: 8, price_per_hour: 0.50}
  fast: {accelerator: nvidia-h100, count: FAST, memory: 80GB, cpus: 8, price_per_hour: 6}
models:
  small:
    task: chat
    engine: {kind: vllm, slots: 64, context: 16384}
    source: hf://meta-llama/Llama-3.1-8B
    memory: 20GB
    shape: {like: llama-3.1-8b}
    placement: [cheap, fast]
    objective: {ttft: 2s, tpot: 100ms}
"""


def cloud(fast: int = 8):
    return load_text(FILE.replace("FAST", str(fast)))


def lengths(rate: float, short: int, long: int) -> Trace:
    return merge(steady(rate, 600, tokens=(short, 50)), steady(rate / 10, 600, seed=2, tokens=(long, 50)))


def test_a_length_that_one_pool_is_too_slow_for_goes_to_the_other():
    """9,000 tokens take an L4 more than the two seconds that are promised; short ones are cheapest there."""
    found = mixed(cloud(), lengths(1, 300, 9000), names={}, room=0.0)
    routes = {one.bucket.split(" in")[0]: one.share for one in found.routes}
    assert list(routes["over 4096"]) == ["fast"]
    assert sum(one.requests for one in found.routes) == len(lengths(1, 300, 9000))
    assert all(sum(share.values()) == pytest.approx(1) for share in routes.values())
    cheap, fast = found.singles
    assert "cannot keep its promises" in cheap.why
    assert fast.nanousd_per_hour >= found.nanousd_per_hour >= found.bound_nanousd_per_hour > 0


def test_a_trickle_is_cheapest_on_the_cheap_device():
    found = mixed(cloud(), steady(0.2, 600, tokens=(300, 50)), names={}, room=0.25)
    assert found.devices == {"cheap": 1}
    assert found.nanousd_per_hour == 500_000_000
    assert found.replicas == {"small@v1 cheap": 1}


def test_room_is_bought_and_what_is_missing_is_named():
    """Every mix serves `room` more than is asked; a fleet that is too small says what it takes."""
    trace = steady(40, 120, tokens=(2000, 200))
    tight, roomy = (mixed(cloud(), trace, names={}, room=room) for room in (0.0, 3.0))
    assert roomy.nanousd_per_hour > tight.nanousd_per_hour
    with pytest.raises(Invalid, match=r"1 more of fast, or to send .* elsewhere"):
        mixed(cloud(fast=1), lengths(20, 300, 9000), names={}, room=9.0)


def test_an_hour_that_was_seen_in_part_counts_by_its_own_length():
    """Half an hour more at the same rate asks for no more devices."""
    columns = {name: getattr(steady(3, 5400), name) for name in ("arrival_us", "input_tokens", "output_tokens")}
    trace = trace_of({name: np.array(column) for name, column in columns.items()}, span_us=5_400_000_000)
    found = mixed(cloud(), trace, names={}, room=0.0)
    assert found.hours == 2
    assert found.devices == mixed(cloud(), trace.slice(0, 3_600_000_000), names={}, room=0.0).devices
