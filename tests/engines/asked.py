"""Prompts for a model that draws, in wordings of this file's own, and what an eye must then see."""

import random
from dataclasses import dataclass
from typing import Any

from tests.engines.judge import DRAWN, PALETTE, look

ALIKE = [{"white", "grey"}, {"red", "orange"}, {"red", "brown"}, {"blue", "purple"}, {"black", "brown"}]
SIDES = {"left": (-1, 0), "right": (1, 0), "top": (0, -1), "bottom": (0, 1)}
RELATIONS = {
    "to the left of": (-1, 0),
    "to the right of": (1, 0),
    "above": (0, -1),
    "below": (0, 1),
}


@dataclass(frozen=True)
class Asked:
    """A prompt; `things` are (shape, colour); `toward` is where the first stands, from the middle or the second."""

    kind: str
    prompt: str
    things: tuple[tuple[str, str], ...]
    background: str = ""
    size: str = ""
    toward: tuple[int, int] | None = None

    def faults(self, picture: Any) -> list[str]:
        """What the picture has wrong: background, things, size, place."""
        background, seen = look(picture)
        found = []
        if self.background and background != self.background:
            found.append(f"background {background}")
        if sorted((one.shape, one.colour) for one in seen) != sorted(self.things):
            return [*found, "things " + " and ".join(f"{one.colour} {one.shape}" for one in seen)]
        if self.size and not self._sized(max(one.area for one in seen)):
            found.append(f"area {seen[0].area:.2f}")
        if self.toward and not self._placed(seen):
            found.append("place " + " and ".join(f"{one.x:.2f},{one.y:.2f}" for one in seen))
        return found

    def _sized(self, area: float) -> bool:
        return area < 0.085 if self.size == "small" else area > 0.1

    def _placed(self, seen: list[Any]) -> bool:
        assert self.toward is not None
        first = next(one for one in seen if (one.shape, one.colour) == self.things[0])
        across, down = first.x - 0.5, first.y - 0.5
        if len(seen) == 2:
            second = seen[1] if first is seen[0] else seen[0]
            across, down = first.x - second.x, first.y - second.y
        return across * self.toward[0] + down * self.toward[1] > 0.08


def prompts(count: int, seed: int) -> list[Asked]:
    """As many prompts, the same for a seed: plain ones, sizes, backgrounds, places and pairs, in turn."""
    chance = random.Random(seed)
    makers = (_plain, _sized, _on_background, _placed, _related)
    return [makers[number % len(makers)](chance) for number in range(count)]


def _thing(chance: random.Random) -> tuple[str, str]:
    return chance.choice(list(DRAWN)), chance.choice(list(PALETTE))


def _article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _plain(chance: random.Random) -> Asked:
    shape, colour = _thing(chance)
    wording = chance.choice(("{}", "A picture of {}.", "Please draw {}", "{}, simple and clean"))
    return Asked("plain", wording.format(_article(f"{colour} {shape}")), ((shape, colour),))


def _sized(chance: random.Random) -> Asked:
    shape, colour = _thing(chance)
    size, word = chance.choice((("small", "small"), ("small", "tiny"), ("large", "large"), ("large", "big")))
    return Asked("size", f"{_article(word)} {colour} {shape}", ((shape, colour),), size=size)


def _on_background(chance: random.Random) -> Asked:
    shape, colour = _thing(chance)
    ground = _ground(chance, colour)
    wording = chance.choice(("{0} on {1} background", "{0} on a {2} background", "{0}, {2} background"))
    words = wording.format(_article(f"{colour} {shape}"), _article(ground), ground)
    return Asked("background", words, ((shape, colour),), background=ground)


def _placed(chance: random.Random) -> Asked:
    shape, colour = _thing(chance)
    side = chance.choice(list(SIDES))
    wording = chance.choice(("{} on the {}", "{} at the {}", "{}, {}"))
    return Asked("place", wording.format(_article(f"{colour} {shape}"), side), ((shape, colour),), toward=SIDES[side])


def _related(chance: random.Random) -> Asked:
    one, other = _thing(chance), _thing(chance)
    while other == one:
        other = _thing(chance)
    relation = chance.choice(list(RELATIONS))
    ground = _ground(chance, one[1], other[1])
    words = f"{_article(f'{one[1]} {one[0]}')} {relation} {_article(f'{other[1]} {other[0]}')} on {ground}"
    return Asked("two things", words, (one, other), background=ground, toward=RELATIONS[relation])


def _ground(chance: random.Random, *colours: str) -> str:
    return chance.choice(
        [
            name
            for name in PALETTE
            if not any(name == colour or {name, colour} in ALIKE for colour in colours)
        ]
    )  # fmt: skip
