"""What cannot be simulated is refused by name, with the fix."""

import pytest

from headrace.economics.work import WorkModel
from headrace.errors import Invalid
from headrace.policy.performance import Measured
from headrace.specs.load import load_text
from headrace.twin.scenario import scenario
from tests.twin.clouds import FILE, cloud, steady

TRACE = steady(2, 30)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"price_per_hour: 3.50": "price_per_hour: 3.50}\n  more: {accelerator: nvidia-l4, memory: 24GB, cpus: 1"}, "pool more has no price"),
        ({"nvidia-h200": "tpu-v5e"}, "tpu-v5e is not in the table"),
        ({"    shape: {like: qwen3-32b}\n": ""}, "it has no shape"),
        ({"tpot: 50ms": "tpot: 1ms"}, "cannot keep its objective on pool gpus"),
        ({"nvidia-h200": "nvidia-l4"}, "cannot keep its objective on pool gpus"),
    ],
)  # fmt: skip
def test_a_cloud_that_cannot_be_foretold_is_refused(changes: dict[str, str], told: str):
    text = FILE.format(count=2, least=0).replace("placement", "placement")
    text = text.replace("    memory: 120GB\n", "    memory: 120GB\n    price: {requests: 1}\n")
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    with pytest.raises(Invalid, match=told):
        scenario(load_text(text), TRACE)


def test_a_model_the_cloud_does_not_have_is_named():
    two = FILE.format(count=2, least=0)
    two += "  other:" + two.partition("  big:")[2]
    with pytest.raises(Invalid, match="which the cloud does not have"):
        scenario(load_text(two), TRACE)
    assert scenario(load_text(two), TRACE, names={"model": "other"}).names == ("other",)
    assert scenario(cloud(), TRACE).names == ("big",), "a cloud of one model takes a trace of any"


def test_what_was_measured_stands_before_the_table():
    """A step of 10 ms and 1 ms for each sequence."""
    engine = Measured(WorkModel(prefill_ns=100_000, decode_ns=1_000_000, fixed_ns=9_000_000), 96 * 2048)
    made = scenario(cloud(), TRACE, measured={("big@v1", "gpus"): engine})
    assert made.behaviours["big@v1", "gpus"].line(1, 900) == (10_000, 0)
    assert made.prompt_us["v1", "gpus"][0] == 90_000
    assert made.rates["big@v1"].input_ns == 100_000


def test_work_is_told_in_replicas_of_the_pool_that_a_model_prefers():
    """Whatever the names of the pools: the first of its placement, not of the alphabet."""
    pools = "  zoo: {accelerator: nvidia-h100, count: 4, memory: 141GB, cpus: 8, price_per_hour: 3}\nmodels:"
    text = FILE.format(count=4, least=0).replace("models:", pools)
    rates = [
        scenario(load_text(text.replace("memory: 120GB", f"memory: 120GB\n    placement: [{order}]")), steady(1, 60))
        for order in ("gpus, zoo", "zoo, gpus")
    ]
    assert [one.capacities["big@v1", "gpus"] > one.capacities["big@v1", "zoo"] for one in rates] == [True, True]
    assert rates[0].rates["big@v1"].output_ns < rates[1].rates["big@v1"].output_ns
