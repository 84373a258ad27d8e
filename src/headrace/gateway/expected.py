"""Work that somebody has said is coming: the next stage of a pipeline, a demonstration at nine.

`POST /headrace/v1/expect` names a model, how many requests will come, and within how long. The slow brain counts them
as if they waited, so that the model is awake and wide enough when they come. Nothing is held for them and nothing is
charged; each one that arrives is taken off, and the rest is forgotten when its time is over.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, Final, Protocol

import msgspec
from msgspec import Meta

from headrace.gateway import answers, refusals
from headrace.gateway.directory import Directory
from headrace.gateway.http1 import Head
from headrace.gateway.link import Link
from headrace.ports import Clock
from headrace.state.demand import Demand
from headrace.state.table import RouteKey
from headrace.wire.reading import read

PATH: Final = "/headrace/v1/expect"
REQUESTS_MAX: Final = 1_000
SECONDS_MAX: Final = 3_600
KEPT_MAX: Final = 1_000  # announcements in one worker


class Expectation(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What is announced. It takes the place of what the same key announced for the same model under the same label."""

    model: Annotated[str, Meta(min_length=1, max_length=256)]
    requests: Annotated[int, Meta(ge=0, le=REQUESTS_MAX)] = 1
    within_s: Annotated[int, Meta(ge=1, le=SECONDS_MAX)] = 60
    label: Annotated[str, Meta(max_length=200)] = ""


_DECODER: Final = msgspec.json.Decoder(Expectation)


class Desk(Protocol):
    """What is needed of the worker."""

    clock: Clock
    directory: Directory
    expected: "Expected"
    link: Link


class Expected:
    """What one worker was told. Moments of the clock that never goes back, microseconds."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, str, str], tuple[int, int]] = {}  # key, model, label: how many, until when

    @property
    def any(self) -> bool:
        """Whether anything is expected at all."""
        return bool(self._told)

    def tell(self, key: str, model: str, label: str, requests: int, until_us: int) -> None:
        """So many will come to `model` (`name@version`) until then; 0 takes it back."""
        name = (key, model, label)
        if requests and (len(self._told) < KEPT_MAX or name in self._told):
            self._told[name] = (requests, until_us)
        else:
            self._told.pop(name, None)

    def came(self, key: str, model: str, label: str) -> None:
        """One of them is here: of that label, or of its first part, as RUN of RUN/STEP."""
        for own in dict.fromkeys((label, label.partition("/")[0], "")):
            if told := self._told.get((key, model, own)):
                self.tell(key, model, own, told[0] - 1, told[1])
                return

    def over(self, found: Iterable[Demand], now_us: int) -> tuple[Demand, ...]:
        """The demand with what is still expected; what is overdue is forgotten."""
        if not self._told:
            return tuple(found)
        self._told = {name: told for name, told in self._told.items() if told[1] > now_us}
        more: dict[str, int] = {}
        for (_, model, _), (requests, _) in self._told.items():
            more[model] = more.get(model, 0) + requests
        return tuple(_with(demand, more) for demand in found)


def take(desk: Desk, head: Head, body: bytes, key: RouteKey, headers: bytes) -> bytes:
    """Keep an announcement; the answer. Raises Invalid."""
    if head.method != b"POST":
        return refusals.wrong_method(head, b"POST", headers)
    told = read(_DECODER, body, Expectation.__struct_fields__)
    model = desk.directory.find(told.model, key, "")
    now_us = desk.clock.monotonic_us()
    until_us = now_us + 1_000_000 * told.within_s
    desk.expected.tell(key.id, f"{model.name}@{model.version}", told.label, told.requests, until_us)
    desk.link.report_now()
    return answers.json({"model": model.name, "requests": told.requests, "within_s": told.within_s}, headers)


def _with(demand: Demand, more: Mapping[str, int]) -> Demand:
    expected = more.get(demand.key, 0)
    return msgspec.structs.replace(demand, expected=expected) if expected else demand
