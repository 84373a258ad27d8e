"""How well the reader reads pictures it has not seen: `python training/painter/reading.py`, with headrace installed."""

from pathlib import Path
from random import Random

import numpy as np
from scenes import draw, scene

import headrace
from headrace.engines.runners.painting import Painter

PICTURES, SEED = 200, 99


def main() -> None:
    """Print how many pictures were read with every shape right, and how far off centres are."""
    painter = Painter(Path(headrace.__file__).parent / "weights/painter", 1)
    chance = Random(SEED)
    right, every, off = {1: 0, 2: 0}, {1: 0, 2: 0}, []
    for _ in range(PICTURES):
        shown = scene(chance)
        read = painter._layers(painter.read(draw(shown)))
        things = sorted(shown.things, key=lambda thing: thing.x + thing.y)
        every[len(things)] += 1
        right[len(things)] += [painter.recipe.draws[one.shape] for one in read] == [one.shape for one in things]
        if len(read) == len(things):
            off += [
                abs(64 * one.x - thing.x) + abs(64 * one.y - thing.y) for one, thing in zip(read, things, strict=True)
            ]
    for count in every:
        print(f"{count} thing(s): all shapes right in {right[count]} of {every[count]}")
    print(f"centres are {np.mean(off):.1f} pixels of 64 off, across and down together")


if __name__ == "__main__":
    main()
