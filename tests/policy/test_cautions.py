"""What a file asks for and will never happen is told with its fix; what will happen is not."""

from pathlib import Path

import pytest

from headrace.policy.cautions import cautions
from headrace.specs.load import load_text

ROOT = Path(__file__).parents[2]
FILES = (ROOT / "src/headrace/specs/default.yaml", *sorted((ROOT / "examples").glob("*.yaml")))
FILE = """
version: 1
pools:
  gpus: {{accelerator: nvidia-h100, count: 4, memory: 80GB, cpus: 8, price_per_hour: 3{gpus}}}{pools}
models:
  chat:
    task: chat
    engine: {{kind: vllm{engine}}}
    source: hf://a/b
    memory: 60GB
    price: {{slot_hour: 1}}
    scaling: {{{scaling}}}{model}
"""
L4 = "\n  small: {accelerator: nvidia-l4, memory: 24GB, cpus: 4, price_per_hour: 1}"
H200 = "\n  large: {accelerator: nvidia-h200, memory: 141GB, cpus: 4, price_per_hour: 4}"
SPOT = (
    "\n  spot: {{accelerator: nvidia-h100, count: 4, memory: 80GB, cpus: 8, price_per_hour: {}, interruptible: true}}"
)
PLACED = "\n    placement: [spot, gpus]"


def told(scaling: str = "min: 0, max: 4", **parts: str) -> list[str]:
    given = {"gpus": "", "pools": "", "engine": "", "model": ""} | parts
    return cautions(load_text(FILE.format(scaling=scaling, **given)))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_files_that_are_shipped_mean_what_they_say(file: Path) -> None:
    assert cautions(load_text(file.read_text(), file.name, (16 << 30, 4), str(file.parent))) == []


@pytest.mark.parametrize(
    ("parts", "found"),
    [
        ({"scaling": "min: 0, max: 1, idle_to_sleep: 2m"}, "chat@v1: never sleeps in pool gpus: at level 1 its weights (55.9 GiB) lie in host_memory, and the pool has none; give the pool host_memory: 60GB, or the engine sleep_level: 2"),
        ({"scaling": "min: 0, max: 1, idle_to_sleep: 2m", "gpus": ", host_memory: 20GB"}, "and the pool has 18.6 GiB a device; give the pool host_memory: 60GB"),
        ({"scaling": "min: 1, max: 2, idle_to_zero: 2m"}, "chat@v1: scaling.idle_to_zero is never used: min is 1, so that it never goes to zero; give min: 0, or remove it"),
        ({"scaling": "min: 2, max: 2, idle_to_zero: auto"}, "scaling.idle_to_zero is never used: min is 2"),
        ({"scaling": "min: 1, max: 2, idle_to_sleep: 2m", "engine": ", sleep_level: 2"}, "scaling.idle_to_sleep is never used: min is 1, and those always stay awake"),
        ({"scaling": "min: 3, max: 4, schedule: [{start: '20:00', end: '06:00', max: 1}]"}, "scaling.schedule[0].max is never kept: it is 1, and min is 3 in those hours, too; give the hours a min of 1 or less"),
        ({"scaling": "max: 1", "model": "\n    hedge: true"}, "chat@v1: hedge is never done: it takes two replicas, and max is 1"),
        ({"pools": H200 + L4, "model": "\n    placement: [gpus, small]\n    choose: order\n  other: {task: embed, engine: {kind: vllm}, source: hf://a/b, memory: 1GB, placement: [large]}"}, "chat@v1: never lives in pool small: it needs 55.9 GiB, a device has 22.4 GiB; remove it from placement"),
        ({"pools": H200, "model": "\n    placement: [gpus]"}, "pool large: no model may live in it; name it in a placement, or leave it out"),
        ({"pools": H200}, "chat@v1: choose: cost cannot choose among its pools (gpus, large): how fast it is elsewhere than in gpus is never known, it has no shape; give it a shape, or say choose: order"),
        ({"pools": H200.replace("nvidia-h200", "tpu")}, "tpu is not in the table of accelerators; say choose: order"),
        ({"pools": H200.replace(", price_per_hour: 4", "")}, "choose: cost cannot choose among its pools (gpus, large): large has no price"),
        ({"pools": SPOT.format(1), "model": PLACED, "scaling": "min: 1, max: 1"}, "chat@v1: never lives on spot (spot): min and max are 1, and one always stays on a pool that is not interruptible"),
        ({"pools": SPOT.format(4), "model": PLACED}, "chat@v1: never lives on spot (spot): with one to spare it costs more there, $3.0004 an hour a replica against $2.2500"),
        ({"pools": SPOT.format(1), "model": PLACED, "scaling": "min: 3, max: 3"}, "chat@v1: has never a replica to spare on spot (spot): min and max are 3, and max is never passed; raise scaling.max by one"),
    ],
)  # fmt: skip
def test_what_never_happens_is_told_with_its_fix(parts: dict[str, str], found: str) -> None:
    (only,) = told(**parts)
    assert found in only, only


@pytest.mark.parametrize(
    "parts",
    [
        {"scaling": "min: 0, max: 1, idle_to_sleep: 2m", "gpus": ", host_memory: 60GB"},
        {"scaling": "min: 0, max: 1, idle_to_sleep: 2m", "engine": ", sleep_level: 2"},
        {"scaling": "min: 0, max: 4, idle_to_zero: auto"},
        {"scaling": "min: 1, max: 4"},
        {"scaling": "min: 1, max: 4, idle_to_zero: 2m, schedule: [{start: '20:00', end: '06:00', min: 0}]"},
        {"scaling": "min: 3, max: 4, schedule: [{start: '20:00', end: '06:00', min: 1, max: 1}]"},
        {"model": "\n    hedge: true"},
        {"pools": L4, "model": "\n    choose: order"},
        {"pools": H200, "model": "\n    shape: {like: llama-3.1-8b}"},
        {"pools": H200.replace("nvidia-h200", "mine"), "gpus": "", "model": "\n    choose: order"},
        {"pools": SPOT.format(1), "model": PLACED},
        {"pools": SPOT.format(1), "model": PLACED, "scaling": "min: 1, max: 2"},
        {"pools": SPOT.format(2), "model": PLACED, "scaling": "min: 3, max: 4"},
        {"pools": SPOT.format(1), "model": PLACED, "scaling": "min: 0, max: 1"},
    ],
)
def test_what_will_happen_is_not_told(parts: dict[str, str]) -> None:
    assert told(**parts) == []
