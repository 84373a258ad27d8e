"""Plans: the bound beside what the twin does, and each pool by itself."""

from headrace.specs.load import load_text
from headrace.twin.plans import planned
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
