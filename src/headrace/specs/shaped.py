"""The `shape` of a model in a cloud file, resolved; used by `specs.load`. Pure."""

from collections.abc import Callable

import msgspec

from headrace.specs import document as doc
from headrace.specs.problem import closest, shown
from headrace.specs.shapes import KNOWN, Shape

Path = tuple[str, ...]
Note = Callable[[Path, str], None]


def shape(given: doc.Shape, path: Path, note: Note) -> Shape | None:
    """The shape a file gives, on top of the one it is like; None when it cannot be made, which is told to `note`."""
    fields = {name: getattr(given, name) for name in given.__struct_fields__ if name != "like"}
    own = {name: value for name, value in fields.items() if value is not None}
    made: Shape | None
    if given.like is not None:
        known = KNOWN.get(given.like)
        if known is None:
            hint = closest(given.like, KNOWN) or f"; there are {', '.join(KNOWN)}"
            note((*path, "like"), f"no model is known as {shown(given.like)}{hint}")
            return None
        made = msgspec.structs.replace(known, **own)
    elif lacking := [
        name for name in ("params", "layers", "hidden", "heads", "kv_heads", "head_dim") if name not in own
    ]:
        note(path, f"{lacking[0]} is missing; give it, or say what the model is like, such as {next(iter(KNOWN))}")
        return None
    else:
        made = Shape(**own)
    if made.active > made.params:
        note((*path, "active"), f"is {made.active}, more than params {made.params}; give at most that")
    if made.kv_heads > made.heads:
        note((*path, "kv_heads"), f"is {made.kv_heads}, more than heads {made.heads}; give at most that")
    return made
