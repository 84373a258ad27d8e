"""What traffic asks for, per model version: reported by gateways, summed by the controller, read by the slow brain."""

from typing import Final

import msgspec

from headrace.state.mix import Sizes, added

SHORT: Final = "short"
LONG: Final = "long"


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """Traffic of one model version over a window.

    `work_us` is busy slot-microseconds that ended in the window. `oldest_wait_us` is how long the oldest held request
    has waited. `last_us` is the moment of the last arrival or end, 0 for never.

    Work as `state.work` has it, time of one replica: `asked_us` of all that arrived since the one who tells began to,
    so that nothing is lost with a report; `backlog_us` of what is held now. Both are 0 where it is not known, and leave
    out batch work, which no replica is started for: `batch` of those in flight or held are of that class.
    `long_asked_us` and `long_backlog_us` are of those the work of prompts beyond the model's cut (`RouteCut`); `part`
    is which of the two parts this is the demand of, empty for all of it.
    `expected` requests have been announced and are not here yet. `paced` are answers of several tokens since the one
    who tells began to; `slow` of them came slower than promised. `begun` are first tokens that were seen since then,
    `late` of them later than promised. `sizes` are lengths of what was answered since then, but for batch work.
    """

    model: str
    version: str
    window_us: int
    arrivals: int = 0
    refused: int = 0
    in_flight: int = 0
    queued: int = 0
    oldest_wait_us: int = 0
    work_us: int = 0
    last_us: int = 0
    asked_us: int = 0
    backlog_us: int = 0
    batch: int = 0
    paced: int = 0
    slow: int = 0
    begun: int = 0
    late: int = 0
    expected: int = 0
    sizes: Sizes = {}
    long_asked_us: int = 0
    long_backlog_us: int = 0
    part: str = ""

    @property
    def key(self) -> str:
        """`name@version`."""
        return f"{self.model}@{self.version}"

    @property
    def of(self) -> str:
        """What it is the demand of: the model version, or its part."""
        return part_key(self.key, self.part)


def part_key(key: str, part: str) -> str:
    """How a part of a model version is called.

    >>> part_key("m@v1", LONG), part_key("m@v1", "")
    ('m@v1/long', 'm@v1')
    """
    return f"{key}/{part}" if part else key


def parts(demand: Demand) -> tuple[Demand, Demand]:
    """The work up to a model's cut, and beyond it; all else is told of either as of the whole."""
    asked_us, backlog_us = demand.long_asked_us, demand.long_backlog_us
    return (
        msgspec.structs.replace(
            demand,
            part=SHORT,
            asked_us=max(0, demand.asked_us - asked_us),
            backlog_us=max(0, demand.backlog_us - backlog_us),
        ),
        msgspec.structs.replace(demand, part=LONG, asked_us=asked_us, backlog_us=backlog_us),
    )


def total(parts: "list[Demand]") -> Demand:
    """The demand of one model version, seen by several gateways, as one.

    >>> a = Demand(model="m", version="v1", window_us=10, arrivals=1, last_us=5)
    >>> total([a, a]).arrivals
    2
    """
    first = parts[0]
    return Demand(
        model=first.model,
        version=first.version,
        window_us=max(part.window_us for part in parts),
        arrivals=sum(part.arrivals for part in parts),
        refused=sum(part.refused for part in parts),
        in_flight=sum(part.in_flight for part in parts),
        queued=sum(part.queued for part in parts),
        oldest_wait_us=max(part.oldest_wait_us for part in parts),
        work_us=sum(part.work_us for part in parts),
        last_us=max(part.last_us for part in parts),
        asked_us=sum(part.asked_us for part in parts),
        backlog_us=sum(part.backlog_us for part in parts),
        batch=sum(part.batch for part in parts),
        paced=sum(part.paced for part in parts),
        slow=sum(part.slow for part in parts),
        begun=sum(part.begun for part in parts),
        late=sum(part.late for part in parts),
        expected=sum(part.expected for part in parts),
        sizes=added([part.sizes for part in parts]),
        long_asked_us=sum(part.long_asked_us for part in parts),
        long_backlog_us=sum(part.long_backlog_us for part in parts),
    )
