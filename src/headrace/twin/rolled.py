"""What a simulated rollout came to: its steps, why it ended, and what both versions did meanwhile."""

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from headrace.policy import rollout as policy
from headrace.state.rollout import Rollout, RolloutPhase, Tally
from headrace.twin.latency import Latency, first_token, latency, outputs_of, per_token, rows_of
from headrace.twin.shadows import ANSWERED, UNDER_WAY, Copy
from headrace.twin.shadows import FAILED as COPY_FAILED
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


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """What some requests and their answers took. `tokens` of all answers."""

    ttft: Latency
    tpot: Latency
    tokens: int


class Copied(msgspec.Struct, frozen=True, kw_only=True):
    """A shadow: what was copied, and how it compares.

    `left_out` counts by reason those whose turn it was. `cost_nanousd` is what replicas of the version cost since it
    was deployed. Of `pairs`, a request and its copy, both were answered: `pace` is the copies', `original` the others',
    first tokens from sending on, for a copy waits in the gateway as batch work does.
    """

    percent: int
    made: int
    answered: int
    failed: int
    under_way: int
    left_out: dict[str, int]
    cost_nanousd: int
    pairs: int
    pace: Pace
    original: Pace


class Rolled(msgspec.Struct, frozen=True, kw_only=True):
    """One. `ended_us` is 0 where it was not decided when the run was over; `verdict` says why, or what was awaited.

    `copied` is of a shadow, whose candidate in `versions` has copies for requests.
    """

    model: str
    stable: str
    candidate: str
    began_us: int
    ended_us: int
    phase: RolloutPhase
    verdict: str
    steps: tuple[Step, ...]
    versions: tuple[Versioned, ...]
    copied: Copied | None = None


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
    until_us, copied = ended_us or world.now_us, _copied(world, rollout) if rollout.shadow else None
    return Rolled(
        model=rollout.model,
        stable=rollout.stable,
        candidate=rollout.candidate,
        began_us=rollout.began_us,
        ended_us=ended_us,
        phase=rollout.phase,
        verdict=_verdict(rollout, copied),
        steps=steps,
        versions=(
            _version(world, rollout, rollout.stable, rollout.old, until_us),
            _watched(world, rollout, copied)
            if copied
            else _version(world, rollout, rollout.candidate, rollout.new, until_us),
        ),
        copied=copied,
    )


def _verdict(rollout: Rollout, copied: Copied | None) -> str:
    told = policy.verdict(rollout)
    if rollout.phase == "shadow" and copied is not None:
        made = f"{copied.made} requests were copied to it, and nobody was answered by it"
        return f"{made}; how alike the words of answers are is not simulated"
    return f"not decided when the run was over: {told}" if rollout.under_way else told


def _watched(world: World, rollout: Rollout, copied: Copied) -> Versioned:
    """The version that is only watched."""
    answered = [copy for copy in _copies(world, rollout) if copy.fate == ANSWERED]
    moments = [(copy.asked_us, copy.first_us, copy.end_us) for copy in answered]
    pace = _pace(world, rollout, moments, _tokens(world, rollout, answered), copied.made - copied.under_way)
    return Versioned(
        version=rollout.candidate,
        requests=copied.made,
        served=copied.answered,
        failed=copied.failed,
        ttft=pace.ttft,
        tpot=pace.tpot,
        tokens=rollout.new.tokens,
        cost_nanousd=rollout.new.cost_nanousd,
    )


def _copied(world: World, rollout: Rollout) -> Copied:
    key, copies = f"{rollout.model}@{rollout.candidate}", _copies(world, rollout)
    fates = [copy.fate for copy in copies]
    pairs = [copy for copy in copies if copy.fate == ANSWERED and world.fate[copy.at] == SERVED]
    since = [lease for lease, _ in world.fleet.ended if lease.started_us >= rollout.began_us]
    sent_us, first = world.rollouts.sent_us, world.shadows.first
    original = [(sent_us[copy.at], world.first_us[copy.at], world.end_us[copy.at]) for copy in pairs]
    theirs = [(sent_us[first + copy.at], copy.first_us, copy.end_us) for copy in pairs]
    versions = {number: version for version, number in world.numbers.items()}
    tokens = [outputs_of(world, versions[world.by[copy.at]])[copy.at] for copy in pairs]
    return Copied(
        percent=rollout.shadow,
        made=len(copies),
        answered=fates.count(ANSWERED),
        failed=fates.count(COPY_FAILED),
        under_way=fates.count(UNDER_WAY),
        left_out={why: count for (whose, why), count in world.shadows.left_out.items() if whose == key},
        cost_nanousd=sum(world.fleet.cost_nanousd(one) for one in since if f"{one.model}@{one.version}" == key),
        pairs=len(pairs),
        pace=_pace(world, rollout, theirs, _tokens(world, rollout, pairs), len(pairs)),
        original=_pace(world, rollout, original, np.array(tokens, np.int64), len(pairs)),
    )


def _copies(world: World, rollout: Rollout) -> list[Copy]:
    key = f"{rollout.model}@{rollout.candidate}"
    return [copy for copy in world.shadows.made.values() if copy.key == key]


def _tokens(world: World, rollout: Rollout, copies: list[Copy]) -> NDArray[Any]:
    return outputs_of(world, rollout.candidate)[np.array([copy.at for copy in copies], np.int64)]


def _pace(world: World, rollout: Rollout, told: list[tuple[int, int, int]], tokens: NDArray[Any], of: int) -> Pace:
    """Of answers whose beginning, first token and end are told, and of all so many requests what kept the promise."""
    moments = np.array(told, np.int64).reshape(-1, 3)
    spec = world.scenario.catalog.model(f"{rollout.model}@{rollout.candidate}")
    assert spec is not None, "it is of the catalog"
    long = tokens > 1
    each = (moments[:, 2] - moments[:, 1])[long] / (tokens[long] - 1)
    return Pace(
        ttft=latency(moments[:, 1] - moments[:, 0], spec.objective.ttft_us, of),
        tpot=latency(each, spec.objective.tpot_us, int(long.sum())),
        tokens=int(tokens.sum()),
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
