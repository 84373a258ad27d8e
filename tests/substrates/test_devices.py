"""What the machine has, less what control groups take away; GPUs only as the driver plainly tells them."""

import pytest

from headrace.substrates import devices
from headrace.units import GIB, MIB

UUID = "GPU-5f0d3a8e-1111-2222-3333-444455556666"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (f"{UUID}, NVIDIA H100 80GB HBM3, 81559", [(UUID, "nvidia h100 80gb hbm3", 81_559 * MIB)]),
        (f"{UUID}, NVIDIA GB10, [N/A]", []),
        ("Failed to initialize NVML: Driver/library version mismatch", []),
        (f"{UUID}, a, b, 12", []),
        ("0, NVIDIA, 12", []),
        (f"{UUID}, NVIDIA, ١٢", []),
        ("", []),
    ],
)
def test_a_gpu_is_taken_from_a_line_that_is_exactly_right(line, found):
    """Warnings and missing figures are no devices."""
    assert [(gpu.device, gpu.pool, gpu.memory_bytes) for gpu in devices.parse_gpus(line + "\n")] == found


def test_instances_stand_for_the_gpu_that_is_cut_into_them():
    """As `nvidia-smi -L` lists them; their memory is a little less than their name says."""
    other = UUID.replace("5f0d", "6f0d")
    part = "MIG-c7384736-a75d-5afc-978f-d2f1294409f"
    answer = (
        f"GPU 0: NVIDIA H100 80GB HBM3 (UUID: {UUID})\n"
        f"  MIG 1g.10gb     Device  0: (UUID: {part}0)\n"
        f"  MIG 3g.40gb     Device  1: (UUID: {part}1)\n"
        f"GPU 1: NVIDIA H100 80GB HBM3 (UUID: {other})\n"
    )
    cut, found = devices.parse_instances(answer)
    assert cut == {UUID}
    assert [(one.device, one.pool, one.memory_bytes) for one in found] == [
        (f"{part}0", "nvidia h100 80gb hbm3 mig 1g.10gb", 9_500_000_000),
        (f"{part}1", "nvidia h100 80gb hbm3 mig 3g.40gb", 38_000_000_000),
    ]
    assert devices.parse_instances("no devices were found\nMIG 1g.10gb") == (set(), [])


def test_the_tightest_group_of_version_2_counts(tmp_path):
    """Own group and all above it."""
    group = tmp_path / "user/app"
    group.mkdir(parents=True)
    (tmp_path / "user/memory.max").write_text(f"{2 * GIB}\n")
    (group / "memory.max").write_text("max\n")
    (tmp_path / "user/cpu.max").write_text("150000 100000\n")
    (group / "cpu.max").write_text("max 100000\n")
    assert devices.memory_limit_bytes("0::/user/app\n", tmp_path) == 2 * GIB
    assert devices.cpu_limit("0::/user/app\n", tmp_path) == 2


def test_groups_of_version_1_count(tmp_path):
    """Each controller has a tree of its own; -1 is no limit."""
    for folder in ("memory/box", "cpu/box"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "memory/box/memory.limit_in_bytes").write_text(str(GIB))
    (tmp_path / "cpu/box/cpu.cfs_quota_us").write_text("-1")
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("300000")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000")
    groups = "5:cpu,cpuacct:/box\n4:memory:/box\n"
    assert devices.memory_limit_bytes(groups, tmp_path) == GIB
    assert devices.cpu_limit(groups, tmp_path) == 3


def test_without_groups_nothing_is_taken_away(tmp_path):
    """The limits are larger than any machine."""
    assert devices.memory_limit_bytes("", tmp_path) > 1 << 50
    assert devices.cpu_limit("0::/\n", tmp_path) > 1 << 10


def test_an_unreadable_driver_is_no_gpu(tmp_path, monkeypatch):
    """A program that fails or talks nonsense gives no devices."""
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho broken; exit 9\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert [device.device for device in devices.devices()] == ["cpu"]
