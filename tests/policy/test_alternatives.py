"""Other ways to run a model: figures where the tables have them, reasons where they have not."""

import msgspec
import pytest

from headrace.policy.alternatives import PPM, alternatives
from headrace.specs.catalog import EngineSpec, ModelSpec, Objective, PoolSpec
from headrace.specs.shapes import KNOWN

POOL = PoolSpec(
    name="gpus", accelerator="H200-SXM", count=4, memory_bytes=141 * 10**9, price_nanousd_per_hour=35 * 10**8
)
MODEL = ModelSpec(
    name="big",
    version="v1",
    weight=100,
    task="chat",
    source="hf://x/y",
    engine=EngineSpec(kind="vllm", slots=128),
    memory_bytes=120 * 10**9,
    pools=("gpus",),
    objective=Objective(ttft_us=2_000_000, tpot_us=80_000),
    shape=KNOWN["llama-3.1-8b"],
)


def test_each_case_says_what_it_changes():
    """Spot changes the price alone, fewer bits the work alone, a cheaper device both."""
    spot, bits, cheaper = alternatives(MODEL, POOL, 1500, 300)
    assert (200_000 < spot.price_ppm < 600_000, spot.work_ppm) == (True, PPM)
    assert (bits.price_ppm, 400_000 < bits.work_ppm < PPM) == (PPM, True)
    assert cheaper.price_ppm * cheaper.work_ppm < PPM * PPM
    assert all(case.known and case.text for case in (spot, bits, cheaper))


@pytest.mark.parametrize(
    ("model", "pool", "lacking"),
    [
        (MODEL, msgspec.structs.replace(POOL, accelerator="cpu"), {"spot", "8 bits", "cheaper device"}),
        (MODEL, msgspec.structs.replace(POOL, price_basis="amortised"), {"spot"}),
        (msgspec.structs.replace(MODEL, shape=None), POOL, {"8 bits", "cheaper device"}),
        (MODEL, msgspec.structs.replace(POOL, accelerator="nvidia-a100-80gb"), {"8 bits"}),
        (MODEL, msgspec.structs.replace(POOL, accelerator="nvidia-t4"), {"spot", "8 bits", "cheaper device"}),
        (msgspec.structs.replace(MODEL, objective=Objective(tpot_us=100)), POOL, {"8 bits", "cheaper device"}),
    ],
)
def test_what_is_not_known_is_said_and_no_figure_made(model: ModelSpec, pool: PoolSpec, lacking: set[str]):
    cases = alternatives(model, pool, 1500, 300)
    assert {case.name for case in cases if not case.known} == lacking
    assert all(case.text and not case.work_ppm for case in cases if not case.known)
