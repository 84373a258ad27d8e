"""What this machine has: its CPUs and memory as one device, and each NVIDIA GPU that the driver tells of.

Asked once by the local substrate, and by `check` before anything runs. What a container or a control group takes away
is not counted.
"""

import math
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

from headrace.state.fleet import Device
from headrace.units import MIB

NODE: Final = "local"
_ASK_TIMEOUT_S: Final = 10
_FIELDS: Final = "uuid,name,memory.total"
_UUID: Final = re.compile(r"GPU-[0-9a-fA-F-]{36}")
_GPU_LINE: Final = re.compile(r"GPU \d+: (.+) \(UUID: (GPU-[0-9a-fA-F-]{36})\)")
_INSTANCE_LINE: Final = re.compile(r"MIG (\d+g\.(\d+)gb)\s+Device\s+\d+: \(UUID: (MIG-[0-9a-fA-F-]{36})\)")
_USABLE_PERCENT: Final = 95  # of the gigabytes in a profile's name; see specs.accelerators.Partition
_ROOT: Final = Path("/sys/fs/cgroup")


def devices() -> list[Device]:
    """The CPU device first, then GPUs in the driver's order. Memory in bytes."""
    try:
        groups = Path("/proc/self/cgroup").read_text()
    except OSError:
        groups = ""
    memory_bytes = min(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), memory_limit_bytes(groups, _ROOT))
    cpus = max(1, min(len(os.sched_getaffinity(0)), cpu_limit(groups, _ROOT)))
    return [Device(node=NODE, device="cpu", pool="cpu", memory_bytes=memory_bytes, cpus=cpus), *_gpus()]


def memory_limit_bytes(groups: str, root: Path) -> int:
    """The least memory that a control group of this process allows. `groups` is the text of /proc/self/cgroup."""
    found = [1 << 62]
    for folder in _folders(groups, root, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            text = _text(folder / name)
            if text.isdigit():
                found.append(int(text))
    return min(found)


def cpu_limit(groups: str, root: Path) -> int:
    """How many CPUs' time the control groups of this process allow, rounded up."""
    found = [1 << 16]
    for folder in _folders(groups, root, "cpu"):
        words = _text(folder / "cpu.max").split() or [
            _text(folder / "cpu.cfs_quota_us"),
            _text(folder / "cpu.cfs_period_us"),
        ]
        if len(words) == 2 and words[0].isdigit() and words[1].isdigit() and int(words[1]):
            found.append(math.ceil(int(words[0]) / int(words[1])))
    return min(found)


def parse_gpus(answer: str) -> list[Device]:
    """The GPUs of `nvidia-smi --query-gpu=uuid,name,memory.total --format=csv,noheader,nounits`.

    A line that is not exactly that is passed over: the driver also prints warnings and `[N/A]`.
    """
    found = []
    for line in answer.splitlines():
        fields = [field.strip() for field in line.split(",")]
        if (
            len(fields) == 3
            and _UUID.fullmatch(fields[0])
            and fields[1]
            and fields[2].isascii()
            and fields[2].isdigit()
        ):
            uuid, name, mib = fields
            found.append(Device(node=NODE, device=uuid, pool=name.lower(), memory_bytes=int(mib) * MIB, cpus=0))
    return found


def parse_instances(answer: str) -> tuple[set[str], list[Device]]:
    """Of `nvidia-smi -L`: GPUs that are cut into MIG instances, and the instances as devices of their own.

    The driver tells no instance's memory there, so it is taken from the profile's name, with a margin.
    """
    cut: set[str] = set()
    found, name, uuid = [], "", ""
    for line in map(str.strip, answer.splitlines()):
        if gpu := _GPU_LINE.fullmatch(line):
            name, uuid = gpu[1].lower(), gpu[2]
        elif (part := _INSTANCE_LINE.fullmatch(line)) and uuid:
            cut.add(uuid)
            memory_bytes = int(part[2]) * 10**9 * _USABLE_PERCENT // 100
            pool = f"{name} mig {part[1]}"
            found.append(Device(node=NODE, device=part[3], pool=pool, memory_bytes=memory_bytes, cpus=0))
    return cut, found


def _gpus() -> list[Device]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    told = [_said([program, f"--query-gpu={_FIELDS}", "--format=csv,noheader,nounits"]), _said([program, "-L"])]
    cut, instances = parse_instances(told[1])
    return [*(gpu for gpu in parse_gpus(told[0]) if gpu.device not in cut), *instances]


def _said(argv: list[str]) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=_ASK_TIMEOUT_S, check=True)
    except (OSError, ValueError, subprocess.SubprocessError):
        return ""
    return done.stdout


def _folders(groups: str, root: Path, controller: str) -> list[Path]:
    """The folders of this process's group and of all above it; of version 2, and of version 1's `controller`."""
    found: list[Path] = []
    for line in groups.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        top = root / controller if controllers else root
        place = top / path.lstrip("/")
        found += [folder for folder in (place, *place.parents) if folder == top or top in folder.parents]
    return found


def _text(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""
