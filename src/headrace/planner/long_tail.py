"""The optimum of exclusive work: one request a device at a time, many models that are seldom asked.

Requests are intervals. A device that has ended one may begin another: at once if the model is the same, after a load if
it is not. Or it is given back, and another boots and loads. The cheapest way to cover all requests is a minimum-cost
flow, which is exact: its matrix is a network's, so the linear program ends in whole numbers.
"""

import dataclasses
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from headrace.errors import Invalid, Permanent
from headrace.planner.program import WHOLE_TOLERANCE, Floats, Program
from headrace.units import US_PER_HOUR, US_PER_S

REQUESTS_MAX: Final = 200_000
Ints = NDArray[np.int64]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Intervals:
    """Requests, in any order: when the device begins and ends each, microseconds, and the place of its model.

    Arrays of one length: int64 or what fits into it.
    """

    start_us: Ints
    end_us: Ints
    model: Ints


@dataclasses.dataclass(frozen=True, kw_only=True)
class LongTail:
    """The cheapest cover, proven to a ten-millionth. `device_us` is all time paid for: boots, loads and waits, too.

    `boots` requests began on a new device, `reused` on one that was up, with or without a load.
    """

    nanousd: int
    device_us: int
    busy_us: int
    boots: int
    reused: int


def long_tail(requests: Intervals, load_us: Sequence[int], *, boot_us: int, nanousd_per_hour: int) -> LongTail:
    """The least that devices cost which serve each request when it is asked. `load_us` is by model.

    Raises Invalid for intervals that do not end after they begin, models without a load time, and too many requests.

    Formula: cost = sum of busy + sum over first requests of a device (boot + load_j) + sum over neighbours i, j on a
        device of (start_j - end_i), which is at least load_j where models differ; least over all covers by paths.
    Units: microseconds of devices; nano-dollars an hour.
    Source: minimum-cost path cover as bipartite matching (Fulkerson 1956), here as a flow along time lines, which needs
        no edge for each pair: one line for what waits with a model, one for what waits for any.
    Assumes: devices are alike and hold one model; requests run when they say, so a policy that lets them wait may be
        cheaper; boots are seen coming; no billing minimum.
    """
    _check(requests, load_us, boot_us, nanousd_per_hour)
    if not len(requests.start_us):
        return LongTail(nanousd=0, device_us=0, busy_us=0, boots=0, reused=0)
    loads = np.asarray(load_us, np.int64)[requests.model]
    boots, cost_us = _Lines(requests, loads, boot_us).solved()
    busy_us = int((requests.end_us - requests.start_us).sum())
    device_us = busy_us + cost_us
    return LongTail(
        nanousd=nanousd_per_hour * device_us // US_PER_HOUR,
        device_us=device_us,
        busy_us=busy_us,
        boots=boots,
        reused=len(loads) - boots,
    )


class _Lines:
    """The flow. Columns for each request: from a boot, from its model's line, from the line of all, to each line."""

    def __init__(self, requests: Intervals, loads: Ints, boot_us: int) -> None:
        self._count = count = len(loads)
        self._unit = float(max(US_PER_S, boot_us + int(loads.max())))  # costs near 1 suit the solver
        self._cost: list[Ints] = []  # whole microseconds, column by column
        self._program = Program()
        self._first = self._columns(boot_us + loads)  # a device of its own
        same = self._columns(np.zeros(count, np.int64))
        other = self._columns(loads)
        to_model = self._columns(np.zeros(count, np.int64))
        to_all = self._columns(np.zeros(count, np.int64))
        each = np.arange(count)
        begun = [(each, column + each, 1.0) for column in (self._first, same, other)]
        self._program.rows(count, begun, low=1.0, high=1.0)
        self._program.rows(count, [(each, to_model + each, 1.0), (each, to_all + each, 1.0)], high=1.0)
        longest_us = boot_us + int(loads.max())
        alone = np.zeros(count, np.int64)
        self._line(alone, requests.end_us, requests.start_us - loads, to_all, other, longest_us)
        self._line(requests.model, requests.end_us, requests.start_us, to_model, same, longest_us)

    def _columns(self, cost_us: Ints, high: Floats | float = 1.0) -> int:
        self._cost.append(cost_us)
        return self._program.columns(len(cost_us), cost=cost_us / self._unit, high=high)

    def _line(self, key: Ints, in_us: Ints, out_us: Ints, into: int, out: int, longest_us: int) -> None:
        """A time line for each key: devices come onto it when requests end, wait, and leave it for others.

        Nobody waits longer than a boot and a load take: a new device is no dearer.
        """
        count, each = self._count, np.arange(self._count)
        when, keys = np.concatenate([in_us, out_us]), np.concatenate([key, key])
        leaves = np.repeat([0, 1], count)
        order = np.lexsort((leaves, when, keys))  # who comes at a moment may leave at it
        place = np.empty(2 * count, np.int64)
        place[order] = np.arange(2 * count)
        wait_us = np.diff(when[order], append=0)
        on = np.append(np.diff(keys[order]) == 0, False) & (wait_us <= longest_us)
        wait = self._columns(np.where(on, wait_us, 0), np.where(on, float(count), 0.0))
        at = np.arange(2 * count)
        rows = [
            (at, wait + at, 1.0),
            (at[1:], wait + at[:-1], -1.0),
            (place[:count], into + each, -1.0),
            (place[count:], out + each, 1.0),
        ]
        self._program.rows(2 * count, rows, low=0.0, high=0.0)

    def solved(self) -> tuple[int, int]:
        """Boots, and the time paid for beside that of the requests."""
        found = self._program.solved()
        whole = np.rint(found.values).astype(np.int64)
        cost_us = int(np.concatenate(self._cost) @ whole)
        # The proof: no cover is a microsecond cheaper, but for what floats cannot tell.
        slack_us = cost_us - found.bound * self._unit
        if np.abs(found.values - whole).max() > WHOLE_TOLERANCE or slack_us > max(1.0, 1e-7 * cost_us):
            raise Permanent(f"the solver's answer is not proven: {slack_us:.0f} us may be saved; take fewer requests")
        return int(whole[self._first : self._first + self._count].sum()), cost_us


def _check(requests: Intervals, load_us: Sequence[int], boot_us: int, nanousd_per_hour: int) -> None:
    lengths = {len(requests.start_us), len(requests.end_us), len(requests.model)}
    if len(lengths) > 1:
        raise Invalid(f"starts, ends and models have different lengths {sorted(lengths)}; give one of each a request")
    if (count := lengths.pop()) > REQUESTS_MAX:
        raise Invalid(f"{count} requests are more than {REQUESTS_MAX}; take a part of the trace")
    if count and int((requests.end_us - requests.start_us).min()) <= 0:
        place = int((requests.end_us - requests.start_us).argmin())
        raise Invalid(f"request {place} does not end after it begins; give it a microsecond at least")
    if count and not 0 <= int(requests.model.min()) <= int(requests.model.max()) < len(load_us):
        raise Invalid(f"model {int(requests.model.max())} has no load time; {len(load_us)} are given")
    if min(boot_us, nanousd_per_hour, *load_us, 0) < 0:
        raise Invalid("boot, loads and the price are from 0 on")
