"""A replica sees the device it was placed on and no other, and holds what the ledger gave it."""

import msgspec
import pytest

from headrace.control.actuator import held
from headrace.policy.actions import Start
from headrace.specs.catalog import EngineSpec
from headrace.state.fleet import Device
from tests.control.sim import GIB, SimCloud, catalog, model

pytestmark = pytest.mark.anyio
GPU = Device(
    node="local",
    device="GPU-1",
    pool="local",
    memory_bytes=80 * GIB,
    cpus=8,
    grain_bytes=20 * GIB,
    whole_bytes=82 * GIB,
)
VLLM = model(engine=EngineSpec(kind="vllm", args={"dtype": "bfloat16"}), memory_bytes=24 * GIB)


def test_vllm_is_told_its_part_of_the_device_in_whole_parts() -> None:
    """Two parts of 20 GiB, of the 82 GiB that vLLM counts from; rounded down."""
    assert held(VLLM, GPU).engine.args == {"dtype": "bfloat16", "gpu-memory-utilization": 0.487}
    whole = msgspec.structs.replace(GPU, grain_bytes=0, whole_bytes=0)
    assert held(VLLM, whole).engine.args["gpu-memory-utilization"] == 0.3


def test_what_its_owner_says_stands_and_others_are_not_told() -> None:
    said = model(engine=EngineSpec(kind="vllm", args={"gpu_memory_utilization": 0.5}))
    assert held(said, GPU) is said
    other = model()
    assert held(other, GPU) is other
    assert held(VLLM, msgspec.structs.replace(GPU, device="cpu")) is VLLM


@pytest.mark.parametrize(("name", "seen"), [("GPU-1", "GPU-1"), ("MIG-2", "MIG-2"), ("cpu", "")])
async def test_a_replica_sees_its_device_alone(tmp_path, name: str, seen: str) -> None:
    cloud = SimCloud(tmp_path, catalog(model()))
    device = msgspec.structs.replace(GPU, device=name)
    spec = model()
    start = Start("r", spec.name, spec.version, "local", "local", name, "asked for")
    artifact = cloud.find(spec)
    assert artifact is not None
    await cloud.actuator.start(start, spec, artifact, device)
    assert cloud.substrate.specs["r"].env["CUDA_VISIBLE_DEVICES"] == seen
    assert cloud.substrate.specs["r"].labels["share_ppm"] == "250000"  # one part of four, though it needs 1 GiB
