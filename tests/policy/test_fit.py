"""Whether a catalog can hold, told before anything starts."""

from headrace.policy.fit import problems
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
