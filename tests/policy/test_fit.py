"""Whether a catalog can hold, told before anything starts."""

import msgspec

from headrace.policy.fit import problems
from headrace.specs.catalog import Catalog, ModelSpec, Objective, PoolSpec
from headrace.specs.shapes import KNOWN
from tests.policy.cloud import GIB, catalog, device, spec


def test_what_fits_has_no_problems() -> None:
    """Two replicas of 1 GiB on 2 GiB."""
    assert problems(catalog(spec(min_replicas=2)), [device(gib=2)]) == []


def test_a_model_larger_than_every_device_is_named() -> None:
    """With its need, the limit and the fix."""
    (problem,) = problems(catalog(spec(memory_bytes=5 * GIB)), [device(gib=4)])
    expected = (
        "m@v1: needs 5.0 GiB, the largest device of its pools has 4.0 GiB; choose a smaller model or a larger pool"
    )
    assert expected == problem


def test_a_pool_without_a_device_is_named() -> None:
    """Nothing could ever start there."""
    (problem,) = problems(catalog(spec(pools=("gpu",))), [device()])
    assert problem.startswith("m@v1: none of its pools (gpu) has a device")


def test_minimums_must_fit_together() -> None:
    """Each fits alone; 2 + 1 GiB do not fit on 2."""
    models = catalog(spec("a@v1", min_replicas=2), spec("b@v1", min_replicas=1))
    (problem,) = problems(models, [device(gib=2)])
    assert problem.startswith("b@v1: replica 1 of min 1 does not fit: it needs 1.0 GiB and the most that is free")


def test_how_many_devices_more_would_do_is_told() -> None:
    """Two replicas of 2 GiB are missing, and a device of 4 GiB holds both."""
    (problem,) = problems(catalog(spec(memory_bytes=2 * GIB, min_replicas=4, max_replicas=4)), [device(gib=4)])
    assert problem.endswith("; 1 more device in a would do, or a min of 2 less")


def test_a_place_that_is_large_enough_is_named() -> None:
    """The nearest one, among the pools of the file."""
    places = [device(gib=4), device("d2", 16, "big"), device("d3", 8, "mid")]
    (problem,) = problems(catalog(spec(memory_bytes=5 * GIB)), places)
    assert problem.endswith("; place it in mid, whose devices have 8.0 GiB")


def gpus(model: ModelSpec, *pools: PoolSpec) -> list[str]:
    """With one device of each pool on this machine."""
    wanted: Catalog = msgspec.structs.replace(catalog(model), pools=pools)
    return problems(
        wanted,
        [msgspec.structs.replace(device(pool.name, 1, pool.name), memory_bytes=pool.memory_bytes) for pool in pools],
    )


def pool(name: str, accelerator: str, gb: int, **more: object) -> PoolSpec:
    return PoolSpec(name=name, accelerator=accelerator, count=1, memory_bytes=gb * 10**9, **more)


def llama(tpot_ms: int = 50, gb: int = 18, **changed: object) -> ModelSpec:
    fields = {
        "memory_bytes": gb * 10**9,
        "shape": KNOWN["llama-3.1-8b"],
        "objective": Objective(tpot_us=tpot_ms * 1000),
    }
    return spec(**(fields | changed))


def test_the_next_mig_profile_is_named() -> None:
    small = pool("a", "nvidia-h100", 9, mig="1g.10gb", slices=7)
    (problem,) = gpus(llama(), small)
    assert problem.endswith("; cut pool a into 1g.20gb instead of 1g.10gb")


def test_a_promise_that_no_pool_keeps_is_told_with_what_would() -> None:
    """16 GB of weights take 54 ms over an L4's 300 GB/s; another pool of the file, else a device of the table."""
    l4, h100 = pool("a", "nvidia-l4", 24), pool("b", "nvidia-h100", 80)
    (problem,) = gpus(llama(tpot_ms=20), l4)
    assert problem.startswith("m@v1: promises an output token in 20 ms, and one alone takes 6")
    assert "a whole nvidia-a30 keeps it" not in problem
    assert " keeps it (a is nvidia-l4), or promise objective.tpot: 6" in problem
    (problem,) = gpus(llama(tpot_ms=20), l4, h100)
    assert "; place it in b, or promise objective.tpot: 6" in problem
    assert gpus(llama(tpot_ms=20, pools=("a", "b")), l4, h100) == []
    assert gpus(llama(tpot_ms=70), l4) == []
    (problem,) = gpus(llama(tpot_ms=1), h100.__class__(**{**msgspec.structs.asdict(h100), "name": "a"}))
    assert "no device of the table keeps that for 16 bit weights" in problem


def test_where_nobody_knows_the_speed_nothing_is_said() -> None:
    assert gpus(llama(tpot_ms=1), pool("a", "cpu", 24)) == []
    assert gpus(llama(tpot_ms=1, shape=None), pool("a", "nvidia-l4", 24)) == []


def test_memory_that_is_less_than_the_weights_is_told() -> None:
    (problem,) = gpus(llama(gb=8), pool("a", "nvidia-h100", 80))
    assert problem == (
        "m@v1: its weights alone are 15.0 GiB at 16 bits, memory is 7.5 GiB; give it more, or weights of fewer bits"
    )
