"""What control writes down: decisions and leases, in order, after the deed.

Nobody's first token waits for a disk: a round acts, publishes, and only then flushes. A disk that is full stops no
deed either; what could not be written waits here, within a bound, and is tried again by the next round.
"""

from collections import deque
from typing import Final

from headrace import telemetry
from headrace.errors import Transient
from headrace.ports import Clock, Store
from headrace.state.decision import Decision
from headrace.state.fleet import Lease

WAITING_MAX: Final = 10_000


class Records:
    """The pen of the controller. `decide` and `lease` cost nothing; `flush` writes."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._waiting: deque[Decision | Lease] = deque(maxlen=WAITING_MAX)

    def decide(self, kind: str, subject: str, reason: str, **detail: str | int) -> None:
        """Note what was done and why; it is logged at once."""
        telemetry.logger().info(kind, subject=subject, reason=reason, **detail)
        self._waiting.append(
            Decision(at_us=self._clock.now_us(), kind=kind, subject=subject, reason=reason, detail=dict(detail))
        )

    def lease(self, lease: Lease) -> None:
        """Note a lease's newest form."""
        self._waiting.append(lease)

    def flush(self) -> bool:
        """Write what waits; False when the disk refused, and then it still waits."""
        while self._waiting:
            try:
                match self._waiting[0]:
                    case Decision() as decision:
                        self._store.decide(decision)
                    case Lease() as lease:
                        self._store.lease_put(lease)
            except Transient as error:
                telemetry.logger().error("records.waiting", reason=error.message, waiting=len(self._waiting))
                return False
            self._waiting.popleft()
        return True
