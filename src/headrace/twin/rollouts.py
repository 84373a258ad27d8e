"""Rollouts in a simulated world: deployed when the scenario says, judged by the object that judges them in a cloud.

Stands where `control.rollouts` stands there: it tells `policy.rollouts` what ended, and the journal each step. Nothing
here decides.
"""

import dataclasses
from collections import deque
from collections.abc import Callable
from typing import Final

from headrace.policy import in_force
from headrace.policy import rollout as policy
from headrace.policy.actions import Hold
from headrace.policy.rollouts import BASELINE, How, Rollouts
from headrace.specs.catalog import Catalog, ModelSpec
from headrace.state.fleet import Fleet, Lease
from headrace.state.rollout import Rollout
from headrace.state.usage import Usage
from headrace.twin.events import JUDGE, ROUND, Events
from headrace.twin.market import Note
from headrace.twin.scenario import Scenario
from headrace.units import US_PER_S

JUDGE_US: Final = US_PER_S // 4  # as often as the loop of a cloud looks


@dataclasses.dataclass(frozen=True, slots=True)
class _Round:
    """What is known when they are judged; no simulated replica fails to start."""

    fleet: Fleet
    holds: tuple[Hold, ...]
    catalog: Catalog
    stands_of: Callable[[str], tuple[str, ...]]

    def fault(self, model: ModelSpec) -> str:  # noqa: ARG002 - as `Round` has it
        """None."""
        return ""

    def stands(self, key: str) -> tuple[str, ...]:
        """The pools that were chosen."""
        return self.stands_of(key)


class SimRollouts:
    """Those of one run. `catalog` is what is in force; `steps` are all that was done, and when."""

    def __init__(
        self, scenario: Scenario, events: Events, note: Note, stands_of: Callable[[str], tuple[str, ...]]
    ) -> None:
        self.policy = Rollouts(self._last, {})
        self.watched = frozenset(one.model for one in scenario.deployments)
        self.catalog = in_force.catalog(scenario.catalog, {})
        self.holds: tuple[Hold, ...] = ()
        self.steps: list[tuple[int, Rollout]] = []
        self.sent_us: dict[int, int] = {}  # of requests for models that are watched, when they went out last
        self._declared = scenario.catalog
        self._events = events
        self._note = note
        self._stands_of = stands_of
        self._due = sorted(scenario.deployments, key=lambda one: one.at_us or 0)
        self._lately: dict[str, deque[Usage]] = {model: deque(maxlen=BASELINE) for model in self.watched}
        self._cold: set[int] = set()
        for one in self._due:
            events.push(one.at_us or 0, ROUND, None, 1)

    def _last(self, model: str) -> list[Usage]:
        """Newest first, as a store has them."""
        return list(reversed(self._lately[model]))

    # --- what happens to requests of models that are watched ----------------------------------------------------------

    def held(self, at: int) -> None:
        """A request waits for a start."""
        if self.watched:
            self._cold.add(at)

    def sent(self, at: int, now_us: int) -> None:
        """A request went out to a replica."""
        self.sent_us[at] = now_us

    def ended(self, at: int, lease: Lease, moments: tuple[int, int, int], tokens: tuple[int, int], *, ok: bool) -> None:
        """A request was answered, or failed. `moments`: it came, its first token (0 for none), its end."""
        arrived_us, first_us, end_us = moments
        sent_us = self.sent_us[at]
        row = Usage(
            request=str(at),
            epoch="",
            tenant="",
            key="",
            model=lease.model,
            task="chat",
            outcome="finished" if ok else "failed",
            status=200 if ok else 500,
            arrived_us=arrived_us,
            ended_us=end_us,
            version=lease.version,
            replica=lease.replica,
            incarnation=lease.incarnation,
            input_tokens=tokens[0],
            output_tokens=tokens[1],
            queue_us=sent_us - arrived_us,
            first_us=first_us - arrived_us if first_us else 0,
            busy_us=end_us - sent_us,
            cold=at in self._cold,
        )
        self._cold.discard(at)
        self._lately[lease.model].append(row)
        self.policy.heard(row)

    # --- what is done ---------------------------------------------------------------------------------------------

    def begin(self, fleet: Fleet, now_us: int) -> bool:
        """Deploy what is due; whether something was."""
        due = [one for one in self._due if (one.at_us or 0) <= now_us]
        self._due = self._due[len(due) :]
        for one in due:
            candidate = self._declared.model(one.key)
            assert candidate is not None, "the scenario was checked"
            serving = sum(r.model == one.model and r.phase == "ready" for r in fleet.replicas)
            how = How(first=one.first, automatic=not one.manual, shadow=one.shadow, replicas=serving)
            made = self.policy.begun(self._declared, candidate, now_us, how)
            self.policy.take(made)
            self._told("shadow" if one.shadow else "deploy", made, now_us)
        if due:
            self._events.push(now_us + JUDGE_US, JUDGE)
        return self._taken(bool(due))

    def judge(self, fleet: Fleet, now_us: int) -> bool:
        """Look at each that is under way; whether something is served differently now."""
        moved = self.policy.turn(_Round(fleet, self.holds, self.catalog, self._stands_of), now_us)
        for what, rollout in moved:
            self._told(what, rollout, now_us)
        return self._taken(bool(moved))

    @property
    def under_way(self) -> bool:
        """Whether one is not decided yet."""
        return any(rollout.under_way for rollout in self.policy.all.values())

    def _taken(self, changed: bool) -> bool:
        if changed:
            self.catalog = in_force.catalog(self._declared, self.policy.all)
        return changed

    def _told(self, what: str, rollout: Rollout, now_us: int) -> None:
        self.steps.append((now_us, rollout))
        self._note(f"rollout.{what}", f"{rollout.model}@{rollout.candidate}", policy.told(rollout, now_us))
