"""The table of accelerators: every row is sound, names are found as people write them, partitions fit their device."""

import pytest

from headrace.specs.accelerators import TABLE, named


@pytest.mark.parametrize("device", TABLE.values(), ids=lambda device: device.name)
def test_a_row_is_of_a_real_device(device):
    """Shares are shares, and the orders of magnitude are those of accelerators."""
    assert 10**10 < device.memory_bytes < 10**12
    assert 10**11 < device.bandwidth < 10**13
    assert 10**13 < device.flops_16 < 10**16
    assert not device.flops_8 or 1.9 < device.flops_8 / device.flops_16 < 2.1
    assert 300_000 < device.compute_ppm < 1_000_000
    assert 300_000 < device.bandwidth_ppm < 1_000_000


@pytest.mark.parametrize("device", [row for row in TABLE.values() if row.partitions], ids=lambda device: device.name)
def test_partitions_fit_their_device(device):
    for part in device.partitions:
        assert part.compute * part.count <= 7
        assert part.memory_bytes * part.count <= device.memory_bytes * 1.01  # the profiles' names are rounded
    assert device.partitions[-1].memory_bytes == device.memory_bytes


@pytest.mark.parametrize("name", ["h100", "H100-SXM", "nvidia-h100", "nvidia_h100_sxm"])
def test_a_name_is_found_as_people_write_it(name):
    assert named(name) is TABLE["nvidia-h100"]


@pytest.mark.parametrize("name", ["cpu", "", "h1000", "nvidia", "-sxm"])
def test_what_is_not_in_the_table_is_not_guessed(name):
    assert named(name) is None
