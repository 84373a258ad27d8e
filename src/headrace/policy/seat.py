"""What the fast brain remembers of a replica between two events. Mutable and deciding nothing, as `lane` is."""

from headrace.state.table import RouteReplica
from headrace.state.work import WorkRate


class Seat:
    """One incarnation of one replica: how much it may take, and how much it has.

    `own` is what this gateway has in flight there, `others` what its siblings last said. `limit` is the slots it may
    fill: all, or one while it is tried again after an ejection (`half_open`). `ready` is the table's word, `open`
    means that it may be given work; `bit` is its place among the open ones (`loads`), 0 when it is not. `clear_us` is
    when the prompts it was given will have been worked off, and `moved_us` by how much that was set right so far
    (`prompts`). `there` is the work of a request there; `long`: it is for the prompts beyond the model's cut.
    `holds` is the longest request it has room for, 0 where that is any.
    """

    __slots__ = (
        "bit",
        "clear_us",
        "ejected_until_us",
        "ejections",
        "faults",
        "half_open",
        "holds",
        "id",
        "incarnation",
        "limit",
        "long",
        "moved_us",
        "open",
        "others",
        "own",
        "pool",
        "ready",
        "slots",
        "there",
    )

    def __init__(self, route: RouteReplica, others: int) -> None:
        self.id = route.id
        self.incarnation = route.incarnation
        self.slots = route.slots
        self.limit = route.slots
        self.pool = route.pool
        self.holds = route.holds_tokens
        self.long = False
        self.there: WorkRate | None = None
        self.clear_us = self.moved_us = 0.0
        self.own = 0
        self.others = others
        self.ready = False
        self.open = False
        self.bit = 0
        self.faults = 0
        self.ejections = 0
        self.ejected_until_us = 0
        self.half_open = False
