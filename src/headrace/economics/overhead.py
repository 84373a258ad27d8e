"""Who bears what no request took: one declared policy moves overheads to tenants; the unmoved view stays as it is.

`POLICY` names the rules below, and stands in each entry they make:

    load     to the tenant whose request caused the start, up to a cap; the rest stays with the operator
    idle     to the tenants of the model in proportion to what they used of it in that hour; unused hours stay
    sleep    as idle
    drain    as idle                failed   stays: faults of ours are not the tenant's
    free     stays: capacity nobody asked for is the operator's price of having it
    fragment stays: so is what is left beside replicas and fits no model
"""

from collections.abc import Mapping
from typing import Final

from headrace.economics.entries import Entry, entry_id
from headrace.economics.sharing import split

POLICY: Final = "causer-cap/1"
LOAD_CAP_NANOUSD: Final = 10_000_000  # one cent for waking a model


def move_load(
    model: str, lease: str, nanousd: int, tenant: str, request: str, at_us: int, hour_us: int, *, borne: int = 0
) -> Entry:
    """A cold start to the tenant whose request caused it, up to the cap; `borne` was moved of it before."""
    return Entry(
        id=entry_id("move", POLICY, "load", lease, hour_us),
        at_us=at_us,
        hour_us=hour_us,
        book="cost",
        kind="move",
        debit=f"borne/{tenant}/load",
        credit=f"moved/load/{model}",
        nanousd=min(nanousd, max(0, LOAD_CAP_NANOUSD - borne)),
        subject=request,
        note=f"{POLICY} {lease}",
    )


def move_in_proportion(
    cause: str, model: str, nanousd: int, used: Mapping[str, int], at_us: int, hour_us: int
) -> list[Entry]:
    """An hour's overhead of a model to its tenants, by what each used of it; nothing when nobody did.

    >>> moves = move_in_proportion("idle", "m@v1", 100, {"a": 3, "b": 1}, at_us=9, hour_us=0)
    >>> [(move.debit, move.nanousd) for move in moves]
    [('borne/a/idle', 75), ('borne/b/idle', 25)]
    """
    tenants = [tenant for tenant in sorted(used) if used[tenant] > 0]
    if not tenants or not nanousd:
        return []
    parts = split(nanousd, [used[tenant] for tenant in tenants])
    return [
        Entry(
            id=entry_id("move", POLICY, cause, model, hour_us, tenant),
            at_us=at_us,
            hour_us=hour_us,
            book="cost",
            kind="move",
            debit=f"borne/{tenant}/{cause}",
            credit=f"moved/{cause}/{model}",
            nanousd=part,
            note=POLICY,
        )
        for tenant, part in zip(tenants, parts, strict=True)
        if part
    ]
