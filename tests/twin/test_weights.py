"""Weights of tenants in the twin: the same turns as in a cloud, for tenants that the cloud file names as the trace does."""

import numpy as np
import pytest

from headrace.specs.load import load_text
from headrace.twin.outcome import outcome
from headrace.twin.trace import Trace, trace_of
from headrace.twin.variants import changed
from headrace.twin.world import World
from tests.twin.clouds import FILE, made, steady

S = 1_000_000
TEXT = FILE.format(count=1, least=1) + "tenants: {acme: {}, beta: {}}\n"


def overload() -> Trace:
    """Twice what one replica can do, half of it from each of two tenants."""
    plain = steady(14, 600)
    columns = {name: getattr(plain, name) for name in ("arrival_us", "input_tokens", "output_tokens")}
    columns["tenant"] = np.arange(len(plain), dtype=np.int32) % 2
    return trace_of(columns, tenants=("acme", "beta"), span_us=plain.span_us)


def served(*sets: str) -> dict[str, int]:
    world = World(made(overload(), load_text(changed(TEXT, sets)), boot_us=S, warm={"big@v1": 1}, patience_us=20 * S))
    world.run()
    return {tenant.name: tenant.served for tenant in outcome(world, "x").models[0].tenants}


@pytest.mark.parametrize(("weight", "ratio"), [(1, 1.0), (2, 2.0)])
def test_under_contention_a_tenant_is_served_by_its_weight(weight: int, ratio: float) -> None:
    """What is not served in time is refused."""
    found = served(f"tenants.acme.weight={weight}")
    assert abs(found["acme"] / found["beta"] - ratio) <= 0.15 * ratio, found
    assert sum(found.values()) < 0.8 * len(overload())
