"""Lists as OpenAI's clients page through them."""

from collections.abc import Mapping, Sequence
from typing import Any

from headrace.errors import Invalid
from headrace.ports import Page


def asked(query: Mapping[str, str], *, limit_max: int, limit: int = 20, tag: str = "") -> Page:
    """The page a query asks for; one more is looked for, to know whether there is more. Raises Invalid."""
    given = query.get("limit", str(limit))
    if not (given.isascii() and given.isdigit() and 1 <= int(given[:9]) <= limit_max):
        raise Invalid(f"limit is {given[:20]!r}; give 1 to {limit_max}", param="limit")
    order = query.get("order", "desc")
    if order not in ("asc", "desc"):
        raise Invalid(f"order is {order[:20]!r}; give asc or desc", param="order")
    return Page(after=query.get("after", ""), limit=int(given) + 1, oldest_first=order == "asc", tag=tag)


def shown(found: Sequence[dict[str, Any]], page: Page) -> dict[str, Any]:
    """The list object."""
    data = list(found[: page.limit - 1])
    return {"object": "list", "data": data, "first_id": data[0]["id"] if data else None,
            "last_id": data[-1]["id"] if data else None, "has_more": len(found) >= page.limit}  # fmt: skip
