"""How other systems size a fleet, by their documented defaults: to be compared with, in the same world.

Each is a `sizing.Sizing` with the signal, windows and limits of the system it is named after; what that system leaves
to its platform (how long a start takes, where replicas go) is as here. All count requests in flight, those that wait
included, which is what such systems see.
"""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

from headrace.policy.scaling import Want
from headrace.policy.sizing import ByWork, Sizing
from headrace.specs.catalog import ModelSpec
from headrace.state.demand import Demand
from headrace.state.fleet import Replica
from headrace.units import US_PER_MINUTE, US_PER_S

_KEEP_US: Final = 30 * US_PER_MINUTE


class _Seen:
    """Requests in flight of one model over the last half hour."""

    def __init__(self) -> None:
        self.samples: deque[tuple[int, int]] = deque()
        self.want = 0
        self.since_us = 0
        self.panic_until_us = -1
        self.panic_most = 0
        self.wants: deque[tuple[int, int]] = deque()

    def mean(self, now_us: int, window_us: int) -> float:
        found = [count for at, count in self.samples if at > now_us - window_us]
        return sum(found) / len(found) if found else 0.0


class Baseline:
    """What all of them share: samples a round, decisions in `_decide`, bounds of the model."""

    def __init__(self) -> None:
        self._models: dict[str, _Seen] = {}
        self._now_us = 0

    def note(self, demand: Mapping[str, Demand], now_us: int, wall_us: int) -> None:
        """Remember what is in flight."""
        del wall_us
        self._now_us = now_us
        for key, one in demand.items():
            seen = self._models.setdefault(key, _Seen())
            seen.samples.append((now_us, one.in_flight + one.queued))
            while seen.samples[0][0] < now_us - _KEEP_US:
                seen.samples.popleft()

    def desired(
        self, model: ModelSpec, have: int, replicas: Sequence[Replica], demand: Demand | None, now_us: int
    ) -> Want:
        """The rule's number, within the model's bounds; asked again in a round, it says the same."""
        del demand
        seen = self._models.setdefault(model.key, _Seen())
        ready = sum(replica.phase == "ready" for replica in replicas)
        if seen.since_us != now_us or not seen.want:
            seen.want = self._decide(model, seen, have, ready, now_us)
            seen.since_us = now_us
        count = max(model.scaling.min_replicas, min(model.scaling.max_replicas, seen.want))
        return Want(count, f"{type(self).__name__}: {seen.mean(now_us, US_PER_MINUTE):.1f} requests at work or waiting")

    def _decide(self, model: ModelSpec, seen: _Seen, have: int, ready: int, now_us: int) -> int:
        raise NotImplementedError


class Knative(Baseline):
    """Knative KPA: mean in flight over a 60 s window, a 6 s panic window at 200 %, 70 % of the target.

    Defaults of Knative Serving 1.x: target 100, panic threshold 200 %, down by half a tick at most, zero after 30 s.
    """

    def __init__(self, target: float = 100.0, utilisation: float = 0.7) -> None:
        super().__init__()
        self._target = target * utilisation

    def _decide(self, model: ModelSpec, seen: _Seen, have: int, ready: int, now_us: int) -> int:
        del model
        stable = math.ceil(seen.mean(now_us, 60 * US_PER_S) / self._target)
        panic = math.ceil(seen.mean(now_us, 6 * US_PER_S) / self._target)
        serving = max(1, ready)
        if panic / serving >= 2:
            seen.panic_until_us = now_us + 60 * US_PER_S
        if now_us <= seen.panic_until_us:
            seen.panic_most = max(seen.panic_most, panic, have)
            return seen.panic_most
        seen.panic_most = 0
        return max(stable, serving // 2, 1)


class Hpa(Baseline):
    """Kubernetes HPA v2, or KEDA on top of it: every 15 s, 10 % tolerance, 300 s before going down.

    Up by 100 % or four replicas in 15 s, whichever is more. `target` is requests in flight for each replica.
    """

    def __init__(self, target: float) -> None:
        super().__init__()
        self._target = target
        self._due_us: dict[str, int] = {}

    def _decide(self, model: ModelSpec, seen: _Seen, have: int, ready: int, now_us: int) -> int:
        del ready
        if now_us < self._due_us.get(model.key, 0) and seen.want:
            return seen.want
        self._due_us[model.key] = now_us + 15 * US_PER_S
        count = max(1, have)
        ratio = seen.mean(now_us, 15 * US_PER_S) / count / self._target
        wanted = count if abs(ratio - 1) <= 0.1 else math.ceil(count * ratio)
        wanted = max(1, min(wanted, max(2 * count, count + 4)))
        seen.wants.append((now_us, wanted))
        while seen.wants[0][0] <= now_us - 300 * US_PER_S:
            seen.wants.popleft()
        return max(want for _, want in seen.wants)


class RayServe(Baseline):
    """Ray Serve: mean ongoing requests over 30 s, target 2 a replica; up after 30 s of it, down after 600 s."""

    def __init__(self, target: float = 2.0, up_us: int = 30 * US_PER_S, down_us: int = 600 * US_PER_S) -> None:
        super().__init__()
        self._target = target
        self._up_us, self._down_us = up_us, down_us
        self._turned: dict[str, tuple[int, int]] = {}

    def _decide(self, model: ModelSpec, seen: _Seen, have: int, ready: int, now_us: int) -> int:
        del ready
        wanted = max(1, math.ceil(seen.mean(now_us, 30 * US_PER_S) / self._target))
        towards = (wanted > have) - (wanted < have)
        before, since_us = self._turned.get(model.key, (0, now_us))
        if towards != before:
            since_us = now_us
        self._turned[model.key] = towards, since_us
        waited_us = now_us - since_us
        if (towards > 0 and waited_us >= self._up_us) or (towards < 0 and waited_us >= self._down_us):
            return wanted
        return max(1, have)


class IdleTimeout(Baseline):
    """Serverless: one more when those that run are full, one less when it was not needed for the idle time."""

    def __init__(self, idle_us: int) -> None:
        super().__init__()
        self._idle_us = min(idle_us, _KEEP_US)

    def _decide(self, model: ModelSpec, seen: _Seen, have: int, ready: int, now_us: int) -> int:
        del have, ready
        most = max((count for at, count in seen.samples if at > now_us - self._idle_us), default=0)
        return math.ceil(most / model.engine.slots)


class Static(Baseline):
    """As many as were bought, always: the model's maximum, or `count`."""

    def __init__(self, count: int = 0) -> None:
        super().__init__()
        self._count = count

    def _decide(self, model: ModelSpec, seen: _Seen, have: int, ready: int, now_us: int) -> int:
        del seen, have, ready, now_us
        return self._count or model.scaling.max_replicas


NAMES: Final = ("headrace", "knative", "knative:N", "hpa:N", "ray", "ray:N", "idle:SECONDS", "static", "static:N")


def named(text: str) -> Sizing | None:
    """The rule of that name, such as `headrace`, `knative`, `hpa:12`, `idle:300`; None when there is none.

    >>> type(named("ray")).__name__, type(named("idle:300")).__name__, named("hpa"), named("ray:x")
    ('RayServe', 'IdleTimeout', None, None)
    """
    name, colon, given = text.partition(":")
    if colon and not (given.replace(".", "", 1).isdigit() and given.isascii() and float(given) > 0):
        return None
    number = float(given) if colon else 0.0
    match name:
        case "headrace" if not colon:
            return ByWork()
        case "knative":
            return Knative(number) if colon else Knative()
        case "hpa" if colon:
            return Hpa(number)
        case "ray":
            return RayServe(number) if colon else RayServe()
        case "idle" if colon:
            return IdleTimeout(int(number * US_PER_S))
        case "static":
            return Static(int(number))
        case _:
            return None
