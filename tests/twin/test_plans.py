"""Plans: the bound beside what the twin does, and each pool by itself."""

import pytest

from headrace.specs.load import load_text
from headrace.twin.plans import planned, work_of
from headrace.twin.scenario import Options, scenario
from tests.twin.clouds import FILE, made, steady

S = 1_000_000


def test_the_twin_is_never_cheaper_than_the_least_cost_at_full_batches():
    found = planned(made(steady(12, 1800), boot_us=30 * S), missed=0.0, simulate=True)
    assert found.simulated_nanousd is not None
    assert 0 < found.nanousd <= found.bound_nanousd <= found.whole_nanousd < found.simulated_nanousd
    (choice,) = found.choices
    assert (choice.whole_nanousd, choice.schedule_nanousd) == (found.bound_nanousd, found.whole_nanousd)
    assert found.whole_nanousd < 1.02 * found.bound_nanousd
    assert found.kept_ppm["big@v1"] > 900_000


def test_each_pool_is_told_by_itself():
    """A second pool with dearer devices is not taken, and says what it would have cost."""
    text = FILE.format(count=8, least=0).replace(
        "models:", "  dear: {accelerator: nvidia-h100, count: 1, memory: 141GB, cpus: 8, price_per_hour: 30}\nmodels:"
    )
    found = planned(scenario(load_text(text), steady(8, 600), options=Options()), missed=0.01, simulate=False)
    best, alone, dear = found.choices
    assert list(best.hours) == ["gpus"]
    assert best.nanousd == alone.nanousd == found.nanousd
    assert best.whole_nanousd is None  # of several pools the bound is that of fractions
    assert found.bound_nanousd == found.nanousd <= best.schedule_nanousd == found.whole_nanousd
    assert dear.nanousd is None
    assert "replicas at once" in dear.why


def test_versions_share_the_work_by_their_weights_and_one_without_a_weight_has_none():
    """What the versions of a model are asked adds up to what the model is asked."""
    one = made(steady(8, 600))
    whole = work_of(one, one.catalog.models[0])
    for weights, parts in (((3, 1), (0.75, 0.25)), ((1, 0), (1.0, 0.0))):
        versions = "    versions: {{v1: {{weight: {}}}, v2: {{weight: {}}}}}\n".format(*weights)
        two = made(steady(8, 600), load_text(FILE.format(count=8, least=0) + versions))
        shares = [work_of(two, model) for model in two.catalog.models]
        assert [float(share.sum() / whole.sum()) for share in shares] == pytest.approx(parts)
        found = planned(two, missed=0.01, simulate=False)
        costs = [choice.nanousd or 0 for choice in found.choices]
        assert sum(costs) == found.nanousd
        assert costs[1] < costs[0]
