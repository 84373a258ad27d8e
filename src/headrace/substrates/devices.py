"""What this machine has: its CPUs and memory as one device, and each NVIDIA GPU that the driver tells of."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

from headrace.state.fleet import Device
from headrace.units import MIB

NODE: Final = "local"
_ASK_TIMEOUT_S: Final = 5


def devices() -> list[Device]:
    """The CPU device first, then GPUs in the driver's order. Memory in bytes."""
    cpu = Device(node=NODE, device="cpu", pool="cpu", memory_bytes=_memory_bytes(), cpus=len(os.sched_getaffinity(0)))
    return [cpu, *_gpus()]


def _memory_bytes() -> int:
    """Memory of the machine, or of the control group when that is less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(file).read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            total = min(total, int(text))
    return total


def _gpus() -> list[Device]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    try:
        answer = subprocess.run(
            [program, "--query-gpu=uuid,name,memory.total", "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=_ASK_TIMEOUT_S,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    found = []
    for line in answer.splitlines():
        fields = [field.strip() for field in line.split(",")]
        if len(fields) == 3 and fields[2].isdigit():
            uuid, name, mib = fields
            found.append(Device(node=NODE, device=uuid, pool=name.lower(), memory_bytes=int(mib) * MIB, cpus=0))
    return found
