"""The cheapest mix of devices for several models with requests of all lengths: how many of which, and who goes where.

A class is the requests of one model in one length bucket. On each device that can keep its promises it takes so much of
a replica's time; a replica takes a share of a device, or several devices. A mixed-integer program picks devices,
replicas and routing together. When nothing fits, it says what would have to change, and by how much.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Final

import numpy as np

from headrace.errors import Invalid, Permanent
from headrace.planner.program import INFINITY, Part, Program, Solution
from headrace.units import US_PER_S

LIMIT_S: Final = 10.0
TOLD_MAX: Final = 3  # kinds of requests that an error names, those of most requests first
GAP: Final = 1e-6
_EPSILON: Final = 1e-6


@dataclasses.dataclass(frozen=True, kw_only=True)
class Device:
    """One kind of device. `count` bounds how many there may be; None is no bound."""

    name: str
    nanousd_per_hour: int
    count: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model:
    """`share` is how much of a device one replica holds, by the device's name: 1/4, or 2 for two whole ones.

    A device that is not named cannot hold it.
    """

    name: str
    share: Mapping[str, Fraction]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Class:
    """Requests of one model and bucket. `rates` are requests a second, one for each period.

    `work_us` is the time of one replica that a request takes at the largest batch which keeps its promises, by device;
    a device that is not named cannot keep them.
    """

    model: str
    bucket: str
    rates: tuple[float, ...]
    work_us: Mapping[str, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mix:
    """Devices by name, replicas by model and device, and routing: shares of a class's requests, by period.

    `nanousd_per_hour` is exact. `bound_nanousd_per_hour` is proven: no mix is cheaper.
    """

    nanousd_per_hour: int
    bound_nanousd_per_hour: int
    devices: dict[str, int]
    replicas: dict[tuple[str, str], int]
    routed: dict[tuple[str, str, str], tuple[float, ...]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Alternative:
    """All on one kind of device: what it costs, or why it cannot be."""

    device: str
    nanousd_per_hour: int | None = None
    why: str = ""


def pool_mix(
    classes: Sequence[Class], models: Sequence[Model], devices: Sequence[Device], *, limit_s: float = LIMIT_S
) -> Mix:
    """The cheapest constant mix, which serves every period; routing may change from period to period.

    Raises Invalid when there is none: it names the class, the limit and the nearest change that would do.

    Formula: minimise sum p_g n_g subject to sum_g f_cgh = 1; sum_c in m r_ch w_cg f_cgh <= y_mg;
        sum_m s_mg y_mg <= n_g <= count_g; n, y whole, f >= 0.
    Units: p nano-dollars an hour; r requests a second; w seconds of a replica a request; s devices a replica.
    Source: Melange (Griggs et al. 2024), with routing as shares and replicas that hold parts of a device.
    Assumes: work adds up, so a replica may be full; give rates with the head-room that bursts need. Replicas that
        cannot be packed onto the devices of the cheapest mix are given shares of 1/2, 1/4, 1/8 ..., which always can;
        `bound_nanousd_per_hour` is of the shares as given.
    """
    _check(classes, models, devices)
    exact = _Mixture(classes, models, devices).mixed(limit_s)
    if exact is None:
        raise Invalid(_why(classes, models, devices, limit_s), status=422)
    if exact.packed:
        return exact.mix
    halved = [_halved(model) for model in models]
    found = _Mixture(classes, halved, devices).mixed(limit_s)
    if found is None:
        raise Invalid(_why(classes, halved, devices, limit_s), status=422)
    return dataclasses.replace(found.mix, bound_nanousd_per_hour=exact.mix.bound_nanousd_per_hour)


def hourly(
    classes: Sequence[Class], models: Sequence[Model], devices: Sequence[Device], *, limit_s: float = LIMIT_S
) -> list[Mix]:
    """The cheapest mix of each period by itself: what a constant mix could save at most. Errors as of `pool_mix`."""
    _check(classes, models, devices)
    periods = len(classes[0].rates)
    return [
        pool_mix(
            [dataclasses.replace(one, rates=one.rates[at : at + 1]) for one in classes],
            models,
            devices,
            limit_s=limit_s,
        )
        for at in range(periods)
    ]


def alternatives(
    classes: Sequence[Class], models: Sequence[Model], devices: Sequence[Device], *, limit_s: float = LIMIT_S
) -> list[Alternative]:
    """All on one kind of device, for each kind, as many as it takes up to its count."""
    found = []
    for device in devices:
        try:
            cost = pool_mix(classes, models, [device], limit_s=limit_s).nanousd_per_hour
            found.append(Alternative(device=device.name, nanousd_per_hour=cost))
        except Invalid as error:
            found.append(Alternative(device=device.name, why=error.message))
    return found


@dataclasses.dataclass(frozen=True, slots=True)
class _Found:
    mix: Mix
    packed: bool


class _Mixture:
    """The program: devices, replicas, and routing by period.

    With `elastic` of "devices" the least number more, of "traffic" the least share less than is asked, are sought.
    """

    def __init__(
        self, classes: Sequence[Class], models: Sequence[Model], devices: Sequence[Device], elastic: str = ""
    ) -> None:
        self._classes, self._devices = classes, devices
        self._models = {model.name: model for model in models}
        self._periods = len(classes[0].rates)
        self._unit = float(max(1, *(device.nanousd_per_hour for device in devices)))
        self.program = Program()
        self.extra: dict[str, int] = {}
        self.shed: dict[int, int] = {}
        self._n = {device.name: self._device(device, elastic) for device in devices}
        self._y: dict[tuple[str, str], int] = {}
        for model in models:
            for device in devices:
                if device.name in model.share:
                    self._y[model.name, device.name] = self.program.columns(1, whole=True)
        self._f: dict[tuple[int, str], int] = {}
        for place, one in enumerate(classes):
            self._route(place, one, elastic)
        self._serve()

    def _device(self, device: Device, elastic: str) -> int:
        high = INFINITY if device.count is None else float(device.count)
        cost = 0.0 if elastic else device.nanousd_per_hour / self._unit
        first = self.program.columns(1, cost=cost, high=high, whole=True)
        if elastic == "devices":
            self.extra[device.name] = self.program.columns(1, cost=1.0, whole=True)
        return first

    def _route(self, place: int, one: Class, elastic: str) -> None:
        """Each request of a class goes somewhere, in every period; with `elastic` of traffic, some go away."""
        periods = np.arange(self._periods)
        parts: list[Part] = []
        for device in self._devices:
            if device.name in one.work_us and (one.model, device.name) in self._y:
                first = self._f[place, device.name] = self.program.columns(self._periods, high=1.0)
                parts.append((periods, first + periods, 1.0))
        if elastic == "traffic":
            total = max(_EPSILON, sum(sum(other.rates) for other in self._classes))
            first = self.shed[place] = self.program.columns(self._periods, cost=np.asarray(one.rates) / total, high=1.0)
            parts.append((periods, first + periods, 1.0))
        self.program.rows(self._periods, parts, low=np.where(np.asarray(one.rates) > 0, 1.0, 0.0))

    def _serve(self) -> None:
        """Replicas are not more than full, devices not more than held."""
        periods = np.arange(self._periods)
        for (model, device), y in self._y.items():
            parts: list[Part] = [(periods, np.full(self._periods, y), -1.0)]
            for (place, on), first in self._f.items():
                one = self._classes[place]
                if (one.model, on) == (model, device):
                    work_s = one.work_us[device] / US_PER_S
                    parts.append((periods, first + periods, np.asarray(one.rates) * work_s))
            self.program.rows(self._periods, parts, high=0.0)
        for kind in self._devices:
            held: list[Part] = [([0], [self._n[kind.name]], -1.0)]
            if kind.name in self.extra:
                held.append(([0], [self.extra[kind.name]], -1.0))
            for (model, on), y in self._y.items():
                if on == kind.name:
                    held.append(([0], [y], float(self._models[model].share[on])))
            self.program.rows(1, held, high=0.0)

    def mixed(self, limit_s: float) -> "_Found | None":
        """The mix, and whether its replicas can be packed onto its devices; None when there is none."""
        found = self.solved(limit_s)
        if not found.feasible:
            return None
        packed = all(self._packed(name, found) <= self._at(found, n) for name, n in self._n.items())
        return _Found(self._mix(found), packed)

    def solved(self, limit_s: float) -> Solution:
        """The program's solution. Raises Permanent when the time was too short for any."""
        found = self.program.solved(limit_s=limit_s, gap=GAP)
        if found.feasible and not len(found.values):
            raise Permanent(f"no mix was found in {limit_s:g} s; give more time or fewer classes")
        return found

    def wanting(self, found: Solution) -> str:
        """What an elastic program had to add or to send away, in words."""
        more = [f"{self._at(found, at)} more of {name}" for name, at in self.extra.items() if self._at(found, at)]
        away = list[tuple[float, str]]()
        for place, first in self.shed.items():
            one, rates = self._classes[place], np.asarray(self._classes[place].rates)
            share = float(found.values[first : first + self._periods] @ rates) / max(_EPSILON, float(rates.sum()))
            if share > _EPSILON:
                away.append((share * float(rates.sum()), f"{share * 100:.3g} % of {one.model} {one.bucket}"))
        told = more + [text for _, text in sorted(away, key=lambda each: -each[0])]
        rest = len(told) - TOLD_MAX
        return " and ".join(told if rest <= 0 else [", ".join(told[:TOLD_MAX]), f"of {rest} more"])

    def _packed(self, name: str, found: Solution) -> int:
        """Devices that the replicas need when the largest are placed first, each where it fits first."""
        shares: list[Fraction] = []
        for (model, on), y in self._y.items():
            if on == name:
                shares += [self._models[model].share[name]] * self._at(found, y)
        whole, room = 0, list[Fraction]()
        for share in sorted(shares, reverse=True):
            if share >= 1:
                whole += -(-share.numerator // share.denominator)
                continue
            place = next((at for at, left in enumerate(room) if left >= share), None)
            if place is None:
                room.append(1 - share)
            else:
                room[place] -= share
        return whole + len(room)

    def _mix(self, found: Solution) -> Mix:
        devices = {name: self._at(found, n) for name, n in self._n.items()}
        routed = {}
        for (place, device), first in self._f.items():
            shares = found.values[first : first + self._periods]
            if shares.max() > _EPSILON:
                one = self._classes[place]
                routed[one.model, one.bucket, device] = tuple(float(share) for share in shares)
        return Mix(
            nanousd_per_hour=sum(device.nanousd_per_hour * devices[device.name] for device in self._devices),
            bound_nanousd_per_hour=max(0, int(found.bound * self._unit * (1 - 1e-9))),
            devices={name: count for name, count in devices.items() if count},
            replicas={key: self._at(found, y) for key, y in self._y.items() if self._at(found, y)},
            routed=routed,
        )

    @staticmethod
    def _at(found: Solution, column: int) -> int:
        return round(float(found.values[column]))


def _halved(model: Model) -> Model:
    """Shares below 1 rounded up to a power of a half: then whatever adds up to whole devices can be packed."""
    made = dict(model.share)
    for name, share in model.share.items():
        slices = 1
        while share < 1 and Fraction(1, 2 * slices) >= share:
            slices *= 2
        if share < 1:
            made[name] = Fraction(1, slices)
    return dataclasses.replace(model, share=made)


def _why(classes: Sequence[Class], models: Sequence[Model], devices: Sequence[Device], limit_s: float) -> str:
    """Why there is no mix: a class without a device, else what is missing."""
    shares = {model.name: model.share for model in models}
    names = ", ".join(device.name for device in devices)
    for one in classes:
        holds = [device.name for device in devices if device.name in shares[one.model]]
        if max(one.rates) > 0 and not holds:
            return f"{one.model} fits on none of {names}; give it a device with more memory, or several for a replica"
        if max(one.rates) > 0 and not any(name in one.work_us for name in holds):
            return (
                f"{one.model} cannot keep its promises for {one.bucket} on any of {', '.join(holds)}; "
                "loosen them or give it a faster device"
            )
    texts = []
    for elastic in ("devices", "traffic"):
        program = _Mixture(classes, models, devices, elastic)
        found = program.solved(limit_s)
        assert found.feasible, "whatever is too much may be had or sent away"
        texts.append(program.wanting(found))
    return f"the devices are too few: it takes {texts[0]}, or to send {texts[1]} elsewhere"


def _check(classes: Sequence[Class], models: Sequence[Model], devices: Sequence[Device]) -> None:
    if not classes or not devices:
        raise Invalid(f"there are {len(classes)} classes and {len(devices)} devices; give one of each at least")
    names = [device.name for device in devices]
    keys = [f"{one.model} {one.bucket}" for one in classes]
    for given in (names, keys, [model.name for model in models]):
        if len(set(given)) < len(given):
            raise Invalid(f"{max(given, key=given.count)} is given twice; give each once")
    for device in devices:
        if device.nanousd_per_hour < 0 or (device.count or 0) < 0:
            raise Invalid(f"device {device.name}: price and count are from 0 on")
    for model in models:
        for name, share in model.share.items():
            if share <= 0 or (share > 1 and share.denominator != 1):
                raise Invalid(f"{model.name} holds {share} of a {name}; give a part up to 1, or whole devices")
    known = {model.name for model in models}
    for one in classes:
        if one.model not in known:
            raise Invalid(f"{one.model} has requests and no share of devices; name it among the models")
        if not one.rates or len(one.rates) != len(classes[0].rates):
            raise Invalid(f"{one.model} {one.bucket} has {len(one.rates)} rates; give all classes as many, 1 at least")
        if not all(0 <= rate < INFINITY for rate in one.rates):
            raise Invalid(f"{one.model} {one.bucket} has a rate below 0 or without end; give requests a second")
        if not all(0 < work < INFINITY for work in one.work_us.values()):
            raise Invalid(f"{one.model} {one.bucket} has work of no time or without end; leave such devices out")
