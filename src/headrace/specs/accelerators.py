"""What accelerators can do: memory, bandwidth, arithmetic, links and partitions, by name. Facts, and a few fits.

Memory, bandwidth and dense arithmetic are the vendors' (datasheets, and the system files of AIConfigurator 0.12). The
efficiencies and the overhead of a layer are fitted by `bench/performance.py` to measured step times; where none were
measured, those of the nearest relative stand. Partitions are NVIDIA's MIG profiles.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Final

_GB: Final = 10**9


@dataclass(frozen=True, slots=True)
class Partition:
    """One MIG profile: `compute` of 7 parts, `memory_bytes` as it is named, and how many of it one device holds."""

    name: str
    compute: int
    memory_bytes: int
    count: int

    @property
    def usable_bytes(self) -> int:
        """What may be planned with: `1g.18gb` of an H200 has 16.00 GiB, the least of its name among all profiles.

        >>> TABLE["nvidia-h200"].partitions[0].usable_bytes <= 16 << 30
        True
        """
        return self.memory_bytes * 95 // 100


@dataclass(frozen=True, slots=True)
class Accelerator:
    """One kind of device.

    Per second: `bandwidth` bytes of memory, `flops_16` and `flops_8` dense operations in 16 and 8 bits (0: it has
    none), `link` bytes one way to its neighbours. `compute_ppm` and `bandwidth_ppm` are the share of those that
    engines reach, `layer_ns` what each layer of each step takes beside.
    """

    name: str
    memory_bytes: int
    bandwidth: int
    flops_16: int
    flops_8: int
    link: int
    power_watts: int
    compute_ppm: int
    bandwidth_ppm: int
    layer_ns: int
    partitions: tuple[Partition, ...] = field(default=())


def _profiles(*rows: tuple[str, int, int, int]) -> tuple[Partition, ...]:
    return tuple(Partition(name, compute, memory * _GB, count) for name, compute, memory, count in rows)


_MIG_80: Final = _profiles(
    ("1g.10gb", 1, 10, 7), ("1g.20gb", 1, 20, 4), ("2g.20gb", 2, 20, 3), ("3g.40gb", 3, 40, 2), ("4g.40gb", 4, 40, 1),
    ("7g.80gb", 7, 80, 1),
)  # fmt: skip
_MIG_141: Final = _profiles(
    ("1g.18gb", 1, 18, 7), ("1g.35gb", 1, 35, 4), ("2g.35gb", 2, 35, 3), ("3g.71gb", 3, 71, 2), ("4g.71gb", 4, 71, 1),
    ("7g.141gb", 7, 141, 1),
)  # fmt: skip
_MIG_180: Final = _profiles(
    ("1g.23gb", 1, 23, 7), ("1g.45gb", 1, 45, 4), ("2g.45gb", 2, 45, 3), ("3g.90gb", 3, 90, 2), ("4g.90gb", 4, 90, 1),
    ("7g.180gb", 7, 180, 1),
)  # fmt: skip

# name, memory GB, bandwidth GB/s, TFLOP/s in 16 bits, in 8 bits, link GB/s, watts, compute ppm, bandwidth ppm, layer ns
_ROWS: Final = (
    ("nvidia-t4", 16, 320, 65, 0, 16, 70, 640_000, 805_000, 7_700, ()),
    ("nvidia-l4", 24, 300, 121, 242, 32, 72, 640_000, 805_000, 7_700, ()),
    ("nvidia-a10g", 24, 600, 125, 0, 32, 300, 640_000, 805_000, 7_700, ()),
    ("nvidia-a30", 24, 933, 165, 0, 100, 165, 858_000, 705_000, 9_500, ()),
    ("nvidia-l40s", 48, 864, 362, 733, 32, 350, 640_000, 805_000, 7_700, ()),
    ("nvidia-a100-80gb-pcie", 80, 1935, 312, 0, 32, 300, 858_000, 705_000, 9_500, _MIG_80),
    ("nvidia-a100-80gb", 80, 2039, 312, 0, 300, 400, 858_000, 705_000, 9_500, _MIG_80),
    ("nvidia-h100-pcie", 80, 2000, 756, 1513, 64, 350, 784_000, 851_000, 9_900, _MIG_80),
    ("nvidia-h100", 80, 3350, 989, 1978, 450, 700, 784_000, 851_000, 9_900, _MIG_80),
    ("nvidia-h200", 141, 4800, 989, 1978, 450, 700, 814_000, 820_000, 10_800, _MIG_141),
    ("nvidia-b200", 180, 7700, 2250, 4500, 900, 1000, 687_000, 902_000, 11_000, _MIG_180),
    ("nvidia-b300", 269, 7750, 2250, 4500, 900, 1100, 687_000, 902_000, 11_000, ()),
    ("nvidia-gb200", 185, 8000, 2500, 5000, 900, 1200, 687_000, 902_000, 11_000, ()),
    ("amd-mi300x", 192, 5300, 1307, 2615, 448, 750, 687_000, 820_000, 10_000, ()),
)
_SUFFIXES: Final = ("-sxm", "-80gb-sxm", "-80gb", "-141gb", "-180gb", "-24gb", "-48gb")


def _made(row: tuple[str, int, int, int, int, int, int, int, int, int, tuple[Partition, ...]]) -> Accelerator:
    name, memory, bandwidth, flops_16, flops_8, link, watts, compute, share, layer, partitions = row
    return Accelerator(
        name=name,
        memory_bytes=memory * _GB,
        bandwidth=bandwidth * _GB,
        flops_16=flops_16 * 10**12,
        flops_8=flops_8 * 10**12,
        link=link * _GB,
        power_watts=watts,
        compute_ppm=compute,
        bandwidth_ppm=share,
        layer_ns=layer,
        partitions=partitions,
    )


TABLE: Final = {accelerator.name: accelerator for accelerator in map(_made, _ROWS)}


def named(name: str) -> Accelerator | None:
    """The accelerator of that name, vendor and form left out or not; None when it is not in the table.

    >>> [found.name for name in ("H100", "nvidia-h200-sxm", "a100") if (found := named(name))]
    ['nvidia-h100', 'nvidia-h200', 'nvidia-a100-80gb']
    >>> named("cpu")
    """
    plain = name.lower().replace("_", "-")
    for stem in (plain, f"nvidia-{plain}", f"amd-{plain}"):
        if stem in TABLE:
            return TABLE[stem]
        for suffix in _SUFFIXES:
            if stem.removesuffix(suffix) in TABLE:
                return TABLE[stem.removesuffix(suffix)]
            if stem + suffix in TABLE:
                return TABLE[stem + suffix]
    return None


def cut(device: Accelerator, profile: Partition) -> Accelerator:
    """An instance as a device: sevenths of the arithmetic, eighths of the memory and of its bandwidth, no links.

    >>> one = cut(TABLE["nvidia-h100"], TABLE["nvidia-h100"].partitions[0])
    >>> one.bandwidth * 8 == TABLE["nvidia-h100"].bandwidth, one.flops_16 * 7 <= TABLE["nvidia-h100"].flops_16
    (True, True)
    """
    eighths = max(1, round(8 * profile.memory_bytes / device.memory_bytes))
    return dataclasses.replace(
        device,
        name=f"{device.name} {profile.name}",
        memory_bytes=profile.usable_bytes,
        bandwidth=device.bandwidth * eighths // 8,
        flops_16=device.flops_16 * profile.compute // 7,
        flops_8=device.flops_8 * profile.compute // 7,
        link=0,
        partitions=(),
    )


def part(device: Accelerator, memory_bytes: int, of_bytes: int) -> Accelerator:
    """What a replica that holds that much of a device's memory can count on, when its neighbours are as busy as it."""
    return dataclasses.replace(
        device,
        memory_bytes=memory_bytes,
        bandwidth=device.bandwidth * memory_bytes // of_bytes,
        flops_16=device.flops_16 * memory_bytes // of_bytes,
        flops_8=device.flops_8 * memory_bytes // of_bytes,
        link=0,
    )
