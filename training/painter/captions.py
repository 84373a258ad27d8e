"""Words for scenes, in many orders."""

from random import Random

from scenes import Scene, Thing

OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above", "top": "bottom", "bottom": "top"}


def caption(scene: Scene, chance: Random) -> str:
    """Words for a scene, in one of many orders."""

    def some(*ways: str) -> str:
        return chance.choice(ways)

    def named(thing: Thing) -> str:
        colour = thing.colour if thing.colour_said else ""
        if colour and chance.random() < 0.12:
            return f"{thing.size} {thing.shape} in {colour}"
        return " ".join(filter(None, (thing.size, colour, thing.shape)))

    first = scene.things[0]
    if len(scene.things) == 1:
        words = named(first)
        if first.place:
            words = some(f"{words} on the {first.place}", f"{first.place}: {words}", f"{words} {first.place}")
    else:
        one, two = map(named, scene.things)
        links = {"left": "left of", "right": "right of", "above": some("above", "on top of")}
        link = links.get(scene.relation, scene.relation)
        words = f"{one} {link} {two}" if link else f"{one} and {two}"
        if scene.relation and chance.random() < 0.25:
            here = some(scene.relation, {"above": "top", "below": "bottom"}.get(scene.relation, scene.relation))
            there = OPPOSITE[here]
            words = some(f"{one} {here} and {two} {there}", f"{here} {one} and {there} {two}")
    if scene.background_said:
        ground = scene.background
        words = some(
            f"{words} on {ground} background", f"{words} on {ground}", f"{ground} background with {words}",
            f"{words} , {ground} background",
        )  # fmt: skip
    return _loosely(words, chance)


def _loosely(words: str, chance: Random) -> str:
    """Small words come and go: a picture `of` something, plain `and` simple, and some leave them out."""
    if chance.random() < 0.25:
        words = words.replace(" of ", " ").replace(" and ", " ")
    if chance.random() < 0.15:
        words = f"of {words}"
    return f"{words} and" if chance.random() < 0.07 else words
