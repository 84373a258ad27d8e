"""Words for scenes, in many orders."""

from random import Random

from scenes import Scene, Thing

OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}


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
        here, there = scene.relation, OPPOSITE.get(scene.relation, "")
        if there and chance.random() < 0.25:
            words = some(f"{one} {here} and {two} {there}", f"{here} {one} and {there} {two}")
    if scene.background_said:
        ground = scene.background
        words = some(
            f"{words} on {ground} background", f"{words} on {ground}", f"{ground} background with {words}",
            f"{words} , {ground} background",
        )  # fmt: skip
    return words
