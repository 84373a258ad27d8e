"""Why something was done: one entry of the journal that `explain` and `events` read."""

import msgspec


class Decision(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing the cloud did, and why, in words a user reads.

    `kind` is a verb phrase such as `replica.start`, `replica.lost`, `catalog.apply`, `key.revoke`. `subject` names
    what it was done to. `detail` holds plain values for machines. `seq` is given by the store.
    """

    at_us: int
    kind: str
    subject: str
    reason: str
    detail: dict[str, str | int | float | bool] = {}
    seq: int = 0
