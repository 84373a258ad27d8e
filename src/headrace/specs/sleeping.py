"""Whether a model's replicas can sleep, and what they keep meanwhile; used by `specs.load`. Pure.

The runners of this program drop the weights and keep the process, its libraries and its files in the page cache. vLLM
is only started so that it can sleep where the file asks for it: that takes its development endpoints, and RAM.
"""

from collections.abc import Callable
from typing import Final

from headrace import units
from headrace.specs import document as doc
from headrace.specs.catalog import EngineKind, Sleep
from headrace.specs.shapes import Shape
from headrace.units import MIB

Path = tuple[str, ...]
Note = Callable[[Path, str], None]
# Resident memory of a sleeping runner, measured (72 and 39 MiB), with room. OpenVINO's is left out: its models compile
# anew, so that a wake takes as long as a start.
KEPT_BYTES: Final[dict[EngineKind, int]] = {"onnx": 96 * MIB, "llama_cpp": 64 * MIB}
VLLM_KEPT_PART: Final = 10  # a tenth: its documentation says that nine tenths and more are released
VLLM_KEPT_MIN_BYTES: Final = 2 << 30  # the context of CUDA, its libraries and graphs
SLEEPERS: Final = (*KEPT_BYTES, "vllm")


def by_itself(kind: EngineKind) -> bool:
    """Whether it sleeps without being told to in the file, where `idle_to_zero` is a question of cost."""
    return kind in KEPT_BYTES


def sleep(
    kind: EngineKind, given: doc.Engine, memory_bytes: int, shape: Shape | None, *, wanted: bool, path: Path, note: Note
) -> Sleep | None:
    """What a replica of this engine keeps asleep; None when it cannot sleep. `wanted`: the file says when it is to."""
    if given.sleep_level is not None and kind != "vllm":
        note((*path, "sleep_level"), f"is for kind vllm, and this is {kind}; remove it")
    if given.sleep_memory is not None and kind not in SLEEPERS:
        note((*path, "sleep_memory"), f"is for kinds that can sleep, {', '.join(SLEEPERS)}; this is {kind}; remove it")
    if kind not in SLEEPERS:
        if wanted:
            able = ", ".join(SLEEPERS)
            note(path, f"kind {kind} cannot sleep; remove scaling.idle_to_sleep, or take one of {able}")
        return None
    if kind == "vllm" and not wanted:
        return None
    least = KEPT_BYTES.get(kind) or max(VLLM_KEPT_MIN_BYTES, memory_bytes // VLLM_KEPT_PART)
    kept = units.size_bytes(given.sleep_memory) if given.sleep_memory else least
    if kept >= memory_bytes:
        if given.sleep_memory or wanted:
            most, keeps = units.format_bytes(memory_bytes), units.format_bytes(kept)
            note(
                path, f"asleep it keeps {keeps} and awake it takes {most}: give sleep_memory less, or let it not sleep"
            )
        return None
    if kind != "vllm":
        return Sleep(kept_bytes=kept)
    level = given.sleep_level or 1
    weights = shape.weight_bytes if shape is not None else memory_bytes
    return Sleep(kept_bytes=kept, host_bytes=weights if level == 1 else 0, level=level)
