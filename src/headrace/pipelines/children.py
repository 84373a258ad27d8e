"""Other pipelines as tools of a run: a child is a run of its own, with a cap that its parent holds for it.

Its name follows from the call that began it, so a parent that goes on after a crash finds the child it had, and what
the child has spent is what the call costs.
"""

import asyncio
import contextlib
from typing import Any, Final, Protocol

from headrace.errors import Invalid, Unreachable
from headrace.pipelines.ports import CHILD, Charges, Models, Quote, Said, child_of
from headrace.state.run import Run, Started

DEPTH_MAX: Final = 4


class Parent(Protocol):
    """What is needed of the runner. `leaving`: its process ends, and the next one goes on."""

    leaving: bool

    def cap_nanousd(self, tenant: str, pipeline: str) -> int:
        """What a run of a deployed pipeline may cost. Raises Invalid."""
        ...

    async def child(self, of: Started, run: str, pipeline: str, inputs: dict[str, Any], cap_nanousd: int) -> None:
        """Start it, if it was not yet. Raises Invalid."""
        ...

    async def ended(self, run: str) -> Run:
        """The state at its end."""
        ...

    async def cancel(self, run: str) -> None:
        """End it now. Raises Invalid when it has ended."""
        ...


class Family:
    """`ports.Models` of one run: the gateway's, and the pipelines of its tenant."""

    def __init__(self, models: Models, parent: Parent, started: Started) -> None:
        self._models, self._parent, self._started = models, parent, started

    async def quote(self, key: str, path: str, body: dict[str, Any], *, agent_step: bool = False) -> Quote:
        """See `ports.Models`. A child may cost its cap."""
        if path != CHILD:
            return await self._models.quote(key, path, body, agent_step=agent_step)
        if self._started.depth >= DEPTH_MAX:
            raise Invalid(f"pipelines call each other {DEPTH_MAX} deep at most; this would be one more")
        cap = self._parent.cap_nanousd(self._started.tenant, body["pipeline"])
        most = min(cap, body["cost_nanousd"])
        return Quote(most, most)

    async def send(
        self,
        key: str,
        path: str,
        body: dict[str, Any],
        *,
        once: str,
        label: str,
        cap_nanousd: int,
        agent_step: bool = False,
    ) -> Said:
        """See `ports.Models`. A child that its parent no longer waits for is cancelled."""
        if path != CHILD:
            return await self._models.send(
                key, path, body, once=once, label=label, cap_nanousd=cap_nanousd, agent_step=agent_step
            )
        run = child_of(once)
        try:
            await self._parent.child(self._started, run, body["pipeline"], body["inputs"], cap_nanousd)
            state = await self._parent.ended(run)
        except Invalid as error:
            return Said(status=422, body={"error": {"message": error.message}}, charge_nanousd=0)
        except asyncio.CancelledError:
            if not self._parent.leaving:
                with contextlib.suppress(Invalid):
                    await asyncio.shield(self._parent.cancel(run))
            raise
        charge, ended = state.spent_nanousd + state.lost_nanousd, state.ended
        if ended is None:
            raise Unreachable("the runner is stopping")
        if ended.phase != "finished":
            why = f"the pipeline {body['pipeline']} {ended.phase} ({run}): {ended.error}"
            return Said(status=422, body={"error": {"message": why}}, charge_nanousd=charge, request=run)
        return Said(status=200, body=ended.output, charge_nanousd=charge, request=run)

    async def charge(self, key: str, request: str) -> int | None:
        """See `ports.Models`."""
        if not request.startswith("run_"):
            return await self._models.charge(key, request)
        try:
            state = await self._parent.ended(request)
        except Invalid:
            return 0  # it was never begun
        return state.spent_nanousd + state.lost_nanousd

    async def charges(self, key: str, run: str, since_us: int) -> Charges:
        """See `ports.Models`."""
        return await self._models.charges(key, run, since_us)

    def release(self, tenant: str, run: str) -> None:
        """See `ports.Models`."""
        self._models.release(tenant, run)

    async def expect(self, key: str, model: str, requests: int, *, within_s: int, label: str) -> None:
        """See `ports.Models`."""
        await self._models.expect(key, model, requests, within_s=within_s, label=label)
