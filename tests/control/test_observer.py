"""What is so, from what the substrate and the machine tell."""

import pytest

from headrace.control import observer
from headrace.ports import WorkerStatus
from headrace.specs.catalog import Catalog, PoolSpec
from headrace.state.fleet import Device
from tests.control.sim import GIB, MACHINE, SimClock, catalog, model

GPUS = [
    Device(node="local", device=f"GPU-{n}", pool="nvidia h100 80gb hbm3", memory_bytes=80 * GIB, cpus=0) for n in "ab"
]


def pools(*wanted: tuple[str, str, int, int]) -> Catalog:
    made = [PoolSpec(name=n, accelerator=a, count=c, memory_bytes=m * GIB, cpus=64) for n, a, c, m in wanted]
    return Catalog(pools=tuple(made), models=(), tenants=())


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ([("local", "cpu", 1, 4)], [("local", "cpu", 4, 4)]),
        ([("local", "cpu", 1, 400)], [("local", "cpu", 8, 4)]),
        ([("a", "cpu", 1, 5), ("b", "cpu", 1, 5)], [("a", "cpu", 5, 4), ("b", "cpu", 3, 4)]),
        ([("big", "H100", 1, 80)], [("big", "GPU-a", 80, 64)]),
        ([("big", "h100", 9, 100)], [("big", "GPU-a", 80, 64), ("big", "GPU-b", 80, 64)]),
        ([("x", "h100", 1, 80), ("y", "h100", 1, 80)], [("x", "GPU-a", 80, 64), ("y", "GPU-b", 80, 64)]),
        ([("none", "mi300x", 1, 192)], []),
        ([("none", "nvidia-h10", 1, 80)], []),
        ([("big", "nvidia-h100-80gb", 1, 80)], [("big", "GPU-a", 80, 64)]),
    ],
)
def test_pools_never_have_more_than_the_machine(wanted, expected):
    """Each pool gets its devices with at most their memory; a device is not given away twice."""
    found = observer.pooled(pools(*wanted), [*MACHINE, *GPUS])
    assert [(d.pool, d.device, d.memory_bytes // GIB, d.cpus) for d in found] == expected


def test_a_worker_knows_itself_by_its_labels():
    """What `labels` wrote, `replica` reads back, in the clock that never goes back."""
    clock = SimClock()
    pooled = observer.pooled(catalog(), MACHINE)
    labels = observer.labels(model(), pooled[0], "because")
    status = WorkerStatus(id="m-1", phase="ready", labels=labels, started_us=clock.now_us() - 5, incarnation="i")
    (found,) = observer.fleet(pooled, {"m-1": status}, [], [], clock).replicas
    assert (found.key, found.digest, found.memory_bytes, found.slots) == ("m@v1", model().digest, GIB, 4)
    assert found.launched_us == clock.monotonic_us() - 5
    assert observer.ours(status)
    assert not observer.ours(WorkerStatus(id="other", phase="ready", labels={"model": "m"}))


@pytest.mark.parametrize(("phase", "expected"), [("ready", "draining"), ("starting", "draining"), ("failed", "failed")])
def test_draining_is_control_s_word(phase, expected):
    """The substrate knows nothing of draining; a worker that has failed does not drain."""
    labels = observer.labels(model(), MACHINE[0], "x")
    status = WorkerStatus(id="a", phase=phase, labels=labels)
    assert observer.replica(status, 0, draining=True).phase == expected


@pytest.mark.parametrize("url", ["http://h:1/v1", "http://h:1/v1/", "http://h:1"])
def test_a_foreign_server_s_address_has_no_v1(url):
    """Every path begins with /v1 by itself."""
    from headrace.specs.catalog import EngineSpec

    assert observer.foreign_address(model(engine=EngineSpec(kind="openai", url=url))) == "http://h:1"
