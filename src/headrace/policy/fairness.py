"""What each tenant was served of one model version, so that under load all get the same time of its slots.

A virtual token counter with slot time for tokens: a tenant is charged what a request is expected to take when it is
sent, and what it really took when it ends; the held request of the tenant with the least counter goes next. A tenant of
weight w is charged a w-th of the time, so that it gets w times that of one of weight 1. One that comes back after a
pause starts at the least counter of those that are served: it can save nothing up.

Bound: between two tenants that always have requests held, the difference of what they were served, each divided by its
weight, never exceeds twice the longest request times the slots. Units: microseconds of one slot at weight 1.
Source: Y. Sheng et al., Fairness in Serving Large Language Models, OSDI 2024 (algorithm 2, theorem 4.4, weighted).
Assumes: this worker is the only one; `policy.sharing` is for several.
"""

from collections.abc import Mapping
from typing import ClassVar, Final, NamedTuple

TENANTS_MAX: Final = 4096  # remembered; beyond that, those without work are forgotten


class Front(NamedTuple):
    """The request that would go next: its class, its tenant and since when it is held (microseconds)."""

    priority: int
    tenant: str
    since_us: int


class Fairness:
    """Counters of one lane. `served` is by tenant; `shared` tells whether siblings have counters of the same lane.

    `weights` are those that are not 1; what was charged by another one before stays as it is. `elsewhere` is how many
    requests that are not of the batch class siblings hold.
    """

    __slots__ = ("_at_work", "_now", "elsewhere", "served", "weights")

    shared: ClassVar[bool] = False

    def __init__(self) -> None:
        self.served: dict[str, int] = {}
        self.weights: Mapping[str, int] = {}
        self._at_work: dict[str, int] = {}
        self.elsewhere = 0
        self._now = 0  # the counter of the tenant that was sent last

    def came(self, tenant: str) -> None:
        """A request of the tenant was taken, to be held or sent."""
        there = self._at_work.get(tenant, 0)
        self._at_work[tenant] = there + 1
        if there:
            return
        least = self._now
        if len(self._at_work) > 1:
            least = min(self.served[other] for other in self._at_work if other != tenant)
        if self.served.get(tenant, -1) < least:
            self.served[tenant] = least
        if len(self.served) > TENANTS_MAX:
            self.served = {name: self.served[name] for name in self._at_work}

    def sent(self, tenant: str, expected_us: int) -> int:
        """A request of it goes to a replica; what the tenant was charged for that."""
        charged_us = self._weighed(tenant, expected_us)
        self._now = self.served[tenant]
        self.served[tenant] += charged_us
        return charged_us

    def took(self, tenant: str, charged_us: int, real_us: int) -> int:
        """It has come back: 0 when that was not the tenant's doing; what the tenant was charged more than before."""
        more_us = self._weighed(tenant, real_us) - charged_us
        self.served[tenant] += more_us
        return more_us

    def left(self, tenant: str) -> None:
        """A request of it is over, in whatever way."""
        there = self._at_work[tenant] - 1
        if there:
            self._at_work[tenant] = there
        else:
            del self._at_work[tenant]

    def _weighed(self, tenant: str, us: int) -> int:
        return -(-us // self.weights[tenant]) if tenant in self.weights else us

    def tell(self, front: Front | None, waiting: int, now_us: int) -> None:
        """Siblings are told who goes next here, None for nobody, and how many wait: alone, there is no one to tell."""

    def meet(self, front: Front | None, waiting: int, now_us: int) -> None:
        """Siblings are told, and heard: there is none."""

    def gives_way(self, front: Front, now_us: int) -> bool:
        """Whether a free slot is a sibling's; asked where counters are shared."""
        raise NotImplementedError
