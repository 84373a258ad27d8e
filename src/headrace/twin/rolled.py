"""What a simulated rollout came to: its steps, why it ended, and what both versions did meanwhile."""

import msgspec
import numpy as np

from headrace.policy import rollout as policy
from headrace.state.rollout import Rollout, RolloutPhase, Tally
from headrace.twin.latency import Latency, first_token, outputs_of, per_token, rows_of
from headrace.twin.world import FAILED, SERVED, World


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """`share` percent from `at_us` on, and why."""

    at_us: int
    phase: RolloutPhase
    share: int
    reason: str


class Versioned(msgspec.Struct, frozen=True, kw_only=True):
    """One version while the rollout was under way: requests that came then and went to it.

    `cost_nanousd` is what their slots were worth that gave `tokens`, as the rollout is judged by.
    """

    version: str
    requests: int
    served: int
    failed: int
    ttft: Latency
    tpot: Latency
    tokens: int
    cost_nanousd: int

    @property
    def nanousd_per_million(self) -> int | None:
        """A million tokens' slots; None where none came."""
        return self.cost_nanousd * 1_000_000 // self.tokens if self.tokens else None


class Rolled(msgspec.Struct, frozen=True, kw_only=True):
    """One. `ended_us` is 0 where it was not decided when the run was over; `verdict` says why, or what was awaited."""

    model: str
    stable: str
    candidate: str
    began_us: int
    ended_us: int
    phase: RolloutPhase
    verdict: str
    steps: tuple[Step, ...]
    versions: tuple[Versioned, ...]


def rolled(world: World) -> tuple[Rolled, ...]:
    """Those of a world that has run."""
    return tuple(_rolled(world, rollout) for rollout in world.rollouts.policy.all.values())


def _rolled(world: World, rollout: Rollout) -> Rolled:
    steps = tuple(
        Step(at_us=at_us, phase=one.phase, share=one.share, reason=one.reason)
        for at_us, one in world.rollouts.steps
        if one.model == rollout.model
    )
    ended_us = 0 if rollout.under_way else rollout.changed_us
    told = policy.verdict(rollout)
    return Rolled(
        model=rollout.model,
        stable=rollout.stable,
        candidate=rollout.candidate,
        began_us=rollout.began_us,
        ended_us=ended_us,
        phase=rollout.phase,
        verdict=told if ended_us else f"not decided when the run was over: {told}",
        steps=steps,
        versions=(
            _version(world, rollout, rollout.stable, rollout.old, ended_us or world.now_us),
            _version(world, rollout, rollout.candidate, rollout.new, ended_us or world.now_us),
        ),
    )


def _version(world: World, rollout: Rollout, version: str, tally: Tally, until_us: int) -> Versioned:
    key, arrival_us = f"{rollout.model}@{version}", world.scenario.trace.arrival_us
    spec = world.scenario.catalog.model(key)
    assert spec is not None, "both are of the catalog"
    rows = rows_of(world, key) & (arrival_us >= rollout.began_us) & (arrival_us < until_us)
    fate = np.frombuffer(world.fate, np.uint8)[rows]
    return Versioned(
        version=version,
        requests=len(fate),
        served=int((fate == SERVED).sum()),
        failed=int((fate == FAILED).sum()),
        ttft=first_token(world, rows, spec.objective.ttft_us),
        tpot=per_token(world, rows, outputs_of(world, version), spec.objective.tpot_us),
        tokens=tally.tokens,
        cost_nanousd=tally.cost_nanousd,
    )
