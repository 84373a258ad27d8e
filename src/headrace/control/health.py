"""Who is well: every second each ready replica and each foreign server is asked.

A replica that answers three times in a row with silence is hung: its incarnation is killed, and its substrate starts
the next one. A foreign server is not ours to kill; gateways are told that it is away. A gateway that got no answer has
the asking done at once.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from headrace.control import observer, probes
from headrace.control.records import Records
from headrace.ports import Clock, Substrate
from headrace.specs.catalog import Catalog, ModelSpec
from headrace.state.fleet import Fleet, Replica

EVERY_S: Final = 1.0
SOONEST_S: Final = 0.2
MISSES_MAX: Final = 3


class Health:
    """Asks, counts what was not answered, and acts on it. `changed` is called when a foreign server came or went."""

    def __init__(self, substrate: Substrate, records: Records, clock: Clock, changed: Callable[[], None]) -> None:
        self._substrate = substrate
        self._records = records
        self._clock = clock
        self._changed = changed
        self._misses: dict[tuple[str, str], int] = {}
        self._foreign: dict[str, tuple[bool, int]] = {}
        self._now = asyncio.Event()

    def doubt(self) -> None:
        """A gateway could not reach a replica: ask soon."""
        self._now.set()

    def answering(self, model: ModelSpec) -> bool | None:
        """Whether a foreign server answers; None before it was asked."""
        return self._foreign[model.digest][0] if model.digest in self._foreign else None

    def foreign(self, catalog: Catalog) -> list[Replica]:
        """The catalog's foreign servers as replicas."""
        found = []
        for model in catalog.models:
            if not model.owned:
                answering, since_us = self._foreign.get(model.digest, (False, 0))
                found.append(observer.foreign_replica(model, answering=answering, since_us=since_us))
        return found

    async def look(self, fleet: Fleet, catalog: Catalog) -> None:
        """Ask everybody once."""
        ready = [r for r in fleet.replicas if r.phase == "ready" and r.node != observer.FOREIGN_NODE]
        foreign = [model for model in catalog.models if not model.owned]
        well = await asyncio.gather(
            *(probes.answers(replica.address) for replica in ready),
            *(probes.answers(observer.foreign_address(model), "/v1/models") for model in foreign),
        )
        counted = {(r.id, r.incarnation) for r in ready} | {(m.digest, "") for m in foreign}
        self._misses = {name: count for name, count in self._misses.items() if name in counted}
        for replica, answered in zip(ready, well, strict=False):
            if self._missed((replica.id, replica.incarnation), answered) >= MISSES_MAX:
                reason = f"it did not answer {MISSES_MAX} health checks in a row"
                self._records.decide("replica.hung", replica.id, reason, incarnation=replica.incarnation)
                await self._substrate.kill(replica.id, replica.incarnation, reason)
        for model, answered in zip(foreign, well[len(ready) :], strict=True):
            self._judge(model, answered)

    async def pause(self) -> None:
        """Until the next asking is due."""
        await asyncio.sleep(SOONEST_S)
        try:
            await asyncio.wait_for(self._now.wait(), EVERY_S - SOONEST_S)
        except TimeoutError:
            return
        finally:
            self._now.clear()

    def _judge(self, model: ModelSpec, answered: bool) -> None:
        """One missed answer does not send a server away that has answered before; one answer brings it back."""
        before = self.answering(model)
        missed = self._missed((model.digest, ""), answered)
        if before and not answered and missed < MISSES_MAX:
            return
        if before != answered:
            self._foreign[model.digest] = (answered, self._clock.monotonic_us())
            reason = "it answers" if answered else f"{model.engine.url} does not answer"
            self._records.decide("server.found" if answered else "server.away", model.key, reason)
            self._changed()

    def _missed(self, name: tuple[str, str], answered: bool) -> int:
        """How many answers in a row did not come. The count begins anew when it has had its effect."""
        if answered:
            self._misses.pop(name, None)
            return 0
        count = self._misses[name] = self._misses.get(name, 0) + 1
        if count >= MISSES_MAX:
            del self._misses[name]
        return count
