"""The painter's closed vocabulary: which words it knows, which of them mean the same."""

import re
from collections.abc import Sequence

from scenes import COLOURS
from shapes import SHAPES

LENGTH = 12
SAME = {
    "circle": "disc disk ball dot",
    "square": "box block",
    "triangle": "pyramid",
    "diamond": "rhombus",
    "star": "asterisk",
    "cross": "plus",
    "ring": "donut doughnut hoop",
    "moon": "crescent",
    "house": "home hut cottage",
    "tree": "fir pine spruce",
    "red": "crimson scarlet",
    "orange": "tangerine",
    "yellow": "gold golden",
    "green": "emerald",
    "cyan": "turquoise teal aqua",
    "blue": "azure navy",
    "purple": "violet",
    "pink": "rose magenta",
    "grey": "gray silver",
    "small": "little tiny mini",
    "large": "big huge giant great",
    "top": "upper up",
    "bottom": "lower down",
    "center": "centre middle centered centred",
    "above": "over",
    "below": "under beneath underneath",
    "background": "backdrop ground",
}
PLACES = ("small", "large", "left", "right", "top", "bottom", "center", "above", "below")
TOKENS = (*SHAPES, *COLOURS, *PLACES, "background", "on", "of", "and")


def vocabulary() -> dict[str, int]:
    """Every known word and its id; words of one meaning share one. 0 stands for no word."""
    known = {}
    for number, word in enumerate(TOKENS, 1):
        plurals = [f"{word}es" if word.endswith("s") else f"{word}s"] if word in SHAPES else []
        for same in (word, *plurals, *SAME.get(word, "").split()):
            known[same] = number
    return known


def encode(text: str, known: dict[str, int]) -> Sequence[int]:
    """LENGTH ids: the words that are known, in order, then zeros. Others are left out."""
    ids = [known[word] for word in re.findall(r"[a-z]+", text.lower()) if word in known][:LENGTH]
    return ids + [0] * (LENGTH - len(ids))
