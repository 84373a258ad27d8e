"""A request as the fast brain sees it: sizes and promises, never words."""

from typing import Final

import msgspec

INTERACTIVE: Final = 0
FLEX: Final = 1
BATCH: Final = 2
CLASSES: Final = ("interactive", "flex", "batch")


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One request. Sizes in tokens (estimates before an engine has counted); moments in microseconds.

    `prefix_hash` names the beginning of the prompt together with the tenant, so that requests which share it can
    share a replica's prefix cache and tenants never share one. `excluded` are replicas that failed under it.
    `priority` is a place in CLASSES: one that comes before another is served before it, and `batch` only where slots
    are left over. `strict` says that `deadline_us` is the client's own, after which an answer is worth nothing to it.
    `short` calls are answered whole and soon, so that two replicas may be asked. Requests of one `group` are parts of
    one answer, so the same version gets them.
    """

    id: str
    tenant: str
    key: str
    model: str
    task: str
    input_tokens: int
    output_tokens_max: int
    arrived_us: int
    deadline_us: int
    prefix_hash: int = 0
    version: str = ""
    attempt: int = 1
    priority: int = INTERACTIVE
    strict: bool = False
    short: bool = False
    excluded: tuple[str, ...] = ()
    group: str = ""
