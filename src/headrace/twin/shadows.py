"""Copies of requests for a version that is only watched, answered to nobody: what `gateway.shadow` is in a cloud.

`policy.shadowing` says who is copied. A copy is a request of its own, of class batch, for that version alone; it has
its original's number, counted on from the last request of the trace.
"""

import dataclasses
from typing import Final

from headrace.policy import shadowing
from headrace.policy.actions import Answer, Assign, Reject
from headrace.policy.dispatch import Dispatch
from headrace.state.table import RouteModel
from headrace.twin.events import ROUND, Events
from headrace.twin.fleet import Running, SimFleet
from headrace.twin.requests import Requests
from headrace.twin.rollouts import SimRollouts

UNDER_WAY, ANSWERED, FAILED = range(3)


@dataclasses.dataclass(slots=True)
class Copy:
    """One, of request `at`. Moments of the trace, 0 for never; `share_us` is time of a replica that it cost."""

    at: int
    key: str
    asked_us: int
    first_us: int = 0
    end_us: int = 0
    share_us: float = 0.0
    fate: int = UNDER_WAY


class Shadows:
    """Those of one run. `first` is the number of the first request's copy; `left_out` counts by version and reason."""

    def __init__(
        self,
        requests: Requests,
        dispatch: Dispatch,
        fleet: SimFleet,
        rollouts: SimRollouts,
        events: Events,
        patience_us: int,
    ) -> None:
        self.first: Final = len(requests)
        self.watched: dict[str, RouteModel] = {}
        self.made: dict[int, Copy] = {}
        self.left_out: dict[tuple[str, str], int] = {}
        self._requests = requests
        self._dispatch = dispatch
        self._fleet = fleet
        self._rollouts = rollouts
        self._events = events
        self._patience_us = patience_us
        self._under_way = 0

    def watch(self, models: tuple[RouteModel, ...]) -> None:
        """Models as gateways see them now."""
        self.watched = {model.name: model for model in models if model.shadow}

    def follow(self, at: int, now_us: int) -> list[Answer]:
        """A request has begun: its copy, if it is its turn and there is room for one."""
        watched = self.watched.get(self._requests.models[at])
        if watched is None or not shadowing.its_turn(str(at), watched.shadow):
            return []
        key, ready = f"{watched.name}@{watched.version}", self._fleet.has_ready(watched.name, watched.version)
        why = shadowing.left_out(ready=ready, under_way=self._under_way)
        if why:
            self.left_out[key, why] = self.left_out.get((key, why), 0) + 1
            return []
        number = self.first + at
        self.made[number] = Copy(at, key, now_us)
        self._under_way += 1
        asked = self._requests.copied(at, str(number), watched.version, now_us, self._patience_us)
        return [self._dispatch.arrive(asked, now_us)]

    def act(self, answer: Answer, now_us: int) -> list[Answer]:
        """What the fast brain decided about a copy; what follows of it for others."""
        number = int(answer.request)
        if isinstance(answer, Assign):
            return self._send(number, self._fleet.running[answer.replica], now_us)
        if isinstance(answer, Reject):
            self._over(number, FAILED, now_us)
        else:
            if answer.cold:
                self._rollouts.held(number)
            if answer.wake:
                self._events.push(now_us, ROUND, None, 1)
        return []

    def begun(self, number: int, first_us: int, now_us: int) -> list[Answer]:
        """Its first token is out, and would be seen at `first_us`."""
        copy = self.made[number]
        copy.first_us = copy.first_us or first_us
        return self._dispatch.begun(str(number), now_us)

    def ended(self, number: int, one: Running, share_us: float, now_us: int) -> list[Answer]:
        """Its last token is out; of one that its version fails, an error is."""
        copy, asked, version = self.made[number], self._requests, one.lease.version
        ok = not asked.broken(copy.at, version)
        copy.share_us += share_us
        if not ok:
            copy.first_us = 0
        self._over(number, ANSWERED if ok else FAILED, now_us + one.engine.late_us)
        self._heard(number, one, ok=ok)
        if ok:
            self._dispatch.answered(one.lease.model, version, asked.outputs(copy.at, version))
        return self._dispatch.ended(str(number), now_us, ok)

    def lost(self, number: int, one: Running, now_us: int, *, crashed: bool) -> list[Answer]:
        """Its replica died under it. One that had begun is not asked again."""
        if not self.made[number].first_us:
            return [self._dispatch.lost(str(number), now_us, crashed=crashed)]
        self._over(number, FAILED, now_us)
        self._heard(number, one, ok=False)
        return self._dispatch.left(str(number), now_us)

    def _send(self, number: int, one: Running, now_us: int) -> list[Answer]:
        copy, asked, version = self.made[number], self._requests, one.lease.version
        if asked.refused(copy.at, version):
            self._over(number, FAILED, now_us)
            return self._dispatch.ended(str(number), now_us, ok=False)
        self._rollouts.sent(number, now_us)
        prompt_us = asked.prompt_us(copy.at, one)
        copy.share_us += prompt_us
        self._events.give(one, number, (prompt_us, asked.inputs[copy.at], asked.outputs(copy.at, version)), now_us)
        return []

    def _over(self, number: int, fate: int, end_us: int) -> None:
        copy = self.made[number]
        copy.fate, copy.end_us = fate, end_us
        self._under_way -= 1

    def _heard(self, number: int, one: Running, *, ok: bool) -> None:
        """Who judges versions is told, as in a cloud, where a copy has a record."""
        copy = self.made[number]
        tokens = self._requests.inputs[copy.at], self._requests.outputs(copy.at, one.lease.version) if ok else 0
        self._rollouts.ended(number, one.lease, (copy.asked_us, copy.first_us, copy.end_us), tokens, ok=ok)
