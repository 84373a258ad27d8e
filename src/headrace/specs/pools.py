"""The pools of a cloud file, resolved: devices, MIG instances or parts of devices, each with its memory and its price.

A pool with `mig` hands out instances, each a device of its own with its part of the price: what a profile leaves unused
belongs to nobody and so is paid by its instances. A pool with `share` hands out a device's memory in equal parts. Used
by `specs.load`. Pure.
"""

from collections.abc import Callable
from typing import Final

from headrace import units
from headrace.specs import accelerators, money
from headrace.specs import document as doc
from headrace.specs.catalog import PoolSpec
from headrace.specs.problem import closest, shown

Path = tuple[str, ...]
Note = Callable[[Path, str], None]
PPM: Final = 1_000_000
# Google's documentation of preemptible machines: "the average preemption rate varies between 5% and 15% per day".
LOSSES_PER_DAY: Final = 0.15


def pool(name: str, given: doc.Pool, machine: tuple[int, int] | None, note: Note) -> PoolSpec:
    """One pool; `machine` is (memory in bytes, CPU threads), which `auto` stands for."""
    path = ("pools", name)
    rate, basis = money.rate(given, path, note)
    memory_bytes, slices = _memory(given, machine, path, note)
    if given.losses_per_day is not None and not given.interruptible:
        note((*path, "losses_per_day"), "is for pools that can be taken away; add interruptible: true, or remove it")
    if given.notice is not None and not given.interruptible:
        note((*path, "notice"), "is for pools that can be taken away; add interruptible: true, or remove it")
    losses = LOSSES_PER_DAY if given.losses_per_day is None else given.losses_per_day
    return PoolSpec(
        name=name,
        accelerator=given.accelerator,
        count=given.count * slices,
        memory_bytes=memory_bytes,
        cpus=_auto(given, machine, "cpus", path, note) if isinstance(given.cpus, str) else given.cpus,
        price_nanousd_per_hour=rate if rate is None else -(-rate // slices),
        price_basis="spot" if given.interruptible and basis == "on_demand" else basis,
        price_from_us=money.date_us(given.price_begins, (*path, "price_begins"), note),
        interruptible=given.interruptible,
        loss_ppm_per_day=round(losses * PPM) if given.interruptible else 0,
        notice_us=units.duration_us(given.notice) if given.notice and given.interruptible else 0,
        mig=given.mig or "",
        slices=slices,
        grain_bytes=_grain(given, memory_bytes, path, note),
        host_bytes=units.size_bytes(given.host_memory) // slices if given.host_memory else 0,
    )


def _memory(given: doc.Pool, machine: tuple[int, int] | None, path: Path, note: Note) -> tuple[int, int]:
    """Bytes of one device or instance, and how many of them one device makes."""
    if given.mig is None:
        if given.memory != "auto":
            return units.size_bytes(given.memory), 1
        return _auto(given, machine, "memory", path, note), 1
    device = accelerators.named(given.accelerator)
    profiles = {one.name: one for one in device.partitions} if device is not None else {}
    found = profiles.get(given.mig)
    if found is None:
        hint = closest(given.mig, profiles) or f"; there are {', '.join(profiles) or 'none'}"
        note((*path, "mig"), f"{given.accelerator} has no profile {shown(given.mig)}{hint}")
        return 1, 1
    if given.memory != "auto":
        size = units.format_bytes(found.usable_bytes)
        note((*path, "memory"), f"is set by mig: an instance of {found.name} has {size}; remove it")
    return found.usable_bytes, found.count


def _grain(given: doc.Pool, memory_bytes: int, path: Path, note: Note) -> int:
    """The part of a device's memory that is handed out at once; 0 for any."""
    if given.share is None:
        return 0
    if given.mig is not None:
        note((*path, "share"), "stands beside mig, which cuts the device already; remove one of them")
    return memory_bytes * round(given.share * PPM) // PPM


def _auto(given: doc.Pool, machine: tuple[int, int] | None, field: str, path: Path, note: Note) -> int:
    at = (*path, field)
    if field == "memory" and given.accelerator != "cpu":
        note(at, f"auto is for cpu pools; write the memory of one {given.accelerator}, like 80GB")
    elif given.count > 1:
        note(at, f"auto is for one device; write the {field} of each of the {given.count}")
    elif machine is None:
        note(at, f"auto stands for a machine, and none is known here; write the {field}")
    else:
        return machine[0 if field == "memory" else 1]
    return 1
