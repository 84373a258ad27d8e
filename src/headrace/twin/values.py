"""Settings as people type them: `NAME=VALUE,...`, each a number within its limits."""

from collections.abc import Mapping, Sequence

from headrace.errors import Invalid


def values_of(
    parts: Sequence[str], defaults: Mapping[str, float], limits: Mapping[str, tuple[float, float]], what: str
) -> dict[str, float]:
    """All of `defaults`, those given replaced. Raises Invalid with the value, the limits and the fix.

    >>> values_of(["rate=2"], {"rate": 1.0, "hours": 1.0}, {"rate": (0, 5)}, "generate")
    {'rate': 2.0, 'hours': 1.0}
    """
    values, seen = dict(defaults), set()
    for part in parts:
        name, equals, given = (piece.strip() for piece in part.partition("="))
        if not equals or name not in values:
            raise Invalid(f"{part.strip()!r} is no setting of {what}; there are {', '.join(values)}")
        if name in seen:
            raise Invalid(f"{name} is given twice; give it once")
        seen.add(name)
        try:
            value = float(given)
        except ValueError:
            value = float("nan")
        low, high = limits[name]
        if not low <= value <= high:
            raise Invalid(f"{name} is {given!r}; give a number from {low:g} to {high:g}")
        values[name] = value
    return values
