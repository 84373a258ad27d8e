"""A new version on its way to all the traffic of its model: what is known of it. Kept by control, judged by policy.

Shares are whole percent of the model's requests, moments microseconds of the wall clock, money nano-dollars.
"""

from typing import Final, Literal

import msgspec

from headrace.specs.catalog import ModelSpec
from headrace.state.likeness import Agreement

RolloutPhase = Literal["warming", "canary", "shadow", "promoted", "rolled_back", "ended"]
_WHOLE: Final = 100  # percent
ON_THE_WAY: frozenset[RolloutPhase] = frozenset({"warming", "canary", "shadow"})


class Tally(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Requests of one version that ended. `slow` missed the promised time to first token, `errors` are the server's.

    `dear` took more slot cost an output token than allowed; `unpaced` are not asked whether they were late or dear,
    for they waited for a start, not for the version. `ttft_us` sums `ttfts` times to first token;
    `cost_nanousd` is what the slots were worth that gave `tokens` output tokens.
    """

    requests: int = 0
    errors: int = 0
    slow: int = 0
    dear: int = 0
    ttft_us: int = 0
    ttfts: int = 0
    tokens: int = 0
    cost_nanousd: int = 0
    unpaced: int = 0

    def plus(self, other: "Tally") -> "Tally":
        """Both together."""
        mine, more = msgspec.structs.asdict(self), msgspec.structs.asdict(other)
        return Tally(**{name: value + more[name] for name, value in mine.items()})


class Evidence(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Natural logarithms of test martingales, one for each odds ratio of `sequential.ODDS`; empty is no evidence."""

    errors: tuple[float, ...] = ()
    slow: tuple[float, ...] = ()
    dear: tuple[float, ...] = ()


class Rollout(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One rollout of `candidate` against `stable`, versions of `model`. `share` is what the candidate gets now.

    `before` is the weight of each version before. `spec` is the candidate as it was deployed, kept apart from the
    cloud file until that names it. `steps` are the shares it goes through; `automatic` False waits for an operator.
    `step` counts the candidate's requests at the present share. `old` and `new` tally both since it began; where there
    is no second device, `old` begins with what the stable one had served before. `leave`, when not 0, is how many
    replicas the stable one keeps until the end. `shadow` is the percent of requests that are copied to a version that
    answers nobody; `agreement` is how alike its answers were to the stable one's, `agree` the percent that is needed to
    promote it. By what the stable one did before, `slow_us` is the most that may pass from sending to the first token,
    and `dear_nanousd` the most that 1,000 output tokens may cost; 0 where that is not judged. Requests that came before
    `calm_us` stood behind those that had waited for the only replica to start. `open_old` and `open_new` ended together
    and are judged when there are enough of both. `replicas` served the model when it began.
    """

    model: str
    stable: str
    candidate: str
    spec: ModelSpec
    before: dict[str, int]
    began_us: int
    phase: RolloutPhase = "warming"
    share: int = 0
    first: int = 5
    automatic: bool = True
    evidence: Evidence = Evidence()
    old: Tally = Tally()
    new: Tally = Tally()
    step: int = 0
    reason: str = ""
    changed_us: int = 0
    leave: int = 0
    alone: bool = False
    dear_nanousd: int = 0
    shadow: int = 0
    agreement: Agreement = Agreement()
    agree: int = 0
    slow_us: int = 0
    calm_us: int = 0
    open_old: Tally = Tally()
    open_new: Tally = Tally()
    replicas: int = 1

    @property
    def solo(self) -> bool:
        """Whether it has all the traffic from the first: its judge is what the stable version did before."""
        return self.alone or self.first >= _WHOLE

    @property
    def under_way(self) -> bool:
        """Whether it is not decided yet."""
        return self.phase in ON_THE_WAY
