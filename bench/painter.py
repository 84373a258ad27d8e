"""How often the painter draws what it is asked, and how long it takes. Prints both, and a sheet of the pictures.

    python -m bench.painter [--prompts 200] [--seed 7] [--threads 1] [--sheet FILE]

The judge (tests/engines/judge.py) shares nothing with the model. Times are of whole 256x256 pictures in this
process, without HTTP and encoding, in rounds that alternate between one picture and eight; the load average is printed.
"""

import argparse
import os
import statistics
import time
from collections import Counter
from pathlib import Path

import msgspec
import numpy as np
from PIL import Image
from tests.engines.asked import prompts

from headrace.engines.runners.batching import Batch, Item
from headrace.engines.runners.painting import Painter, Painting, Pixels

WEIGHTS = Path(__file__).parents[1] / "src/headrace/weights/painter"
BATCH, ROUNDS, SIDE, TIMED_SIDE = 8, 7, 128, 256


def paint(painter: Painter, works: list[Painting]) -> list[Pixels]:
    return painter.paint(Batch([Item(work, steps=work.left) for work in works]))


def accuracy(painter: Painter, count: int, seed: int, sheet: Path | None) -> None:
    asked = prompts(count, seed)
    works = [Painting(painter.recipe, painter.recipe.ids(one.prompt), seed + at, SIDE) for at, one in enumerate(asked)]
    pictures = [picture for at in range(0, count, BATCH) for picture in paint(painter, works[at : at + BATCH])]
    right: Counter[str] = Counter()
    for one, picture in zip(asked, pictures, strict=True):
        if faults := one.faults(picture):
            print(f"  {one.prompt!r}: {'; '.join(faults)}")
        else:
            right[one.kind] += 1
    every = Counter(one.kind for one in asked)
    print(f"right: {right.total()} of {count} ({100 * right.total() / count:.1f} %)")
    print("  " + ", ".join(f"{kind} {right[kind]}/{every[kind]}" for kind in every))
    if sheet is not None:
        columns = 20
        shown = pictures[: count // columns * columns]
        rows = [np.concatenate(shown[at : at + columns], 1) for at in range(0, len(shown), columns)]
        Image.fromarray(np.concatenate(rows)).save(sheet)


def pace(painter: Painter) -> None:
    words = painter.recipe.ids("a red circle left of a green square")
    took: dict[int, list[float]] = {1: [], BATCH: []}
    for turn in range(ROUNDS):
        for size, times in took.items():
            works = [Painting(painter.recipe, words, turn + at, TIMED_SIDE) for at in range(size)]
            began = time.perf_counter()
            paint(painter, works)
            times.append(time.perf_counter() - began)
    for size, times in took.items():
        best, middle = min(times), statistics.median(times)
        print(f"{size} at once: {middle / size:.3f} s a picture (median; best {best / size:.3f})")
    print(f"load average {os.getloadavg()[0]:.1f}")


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--prompts", type=int, default=200)
    words.add_argument("--seed", type=int, default=7)
    words.add_argument("--threads", type=int, default=1)
    words.add_argument("--weights", type=Path, default=WEIGHTS)
    words.add_argument("--guidance", type=float)
    words.add_argument("--steps", type=int)
    words.add_argument("--sheet", type=Path)
    given = words.parse_args()
    painter = Painter(given.weights, given.threads)
    changed = {name: value for name in ("guidance", "steps") if (value := getattr(given, name)) is not None}
    painter.recipe = msgspec.structs.replace(painter.recipe, **changed)
    print(f"{painter.recipe.steps} steps, guidance {painter.recipe.guidance}, {given.threads} threads")
    accuracy(painter, given.prompts, given.seed, given.sheet)
    pace(painter)


if __name__ == "__main__":
    main()
