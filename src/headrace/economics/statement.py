"""What a time cost and brought in, read off the accounts; and whether it pays to run a model oneself. Pure."""

from collections.abc import Mapping
from typing import Final

import msgspec

from headrace.economics.prices import charge_nanousd
from headrace.specs.priced import Unit
from headrace.state.table import Price

OVERHEADS: Final = ("load", "idle", "drain", "sleep", "failed")
PPM: Final = 1_000_000


class ModelCost(msgspec.Struct, frozen=True, kw_only=True):
    """What one model version cost: its requests, and time of its replicas that none used; nano-dollars."""

    model: str
    used_nanousd: int = 0
    load_nanousd: int = 0
    idle_nanousd: int = 0
    drain_nanousd: int = 0
    sleep_nanousd: int = 0
    failed_nanousd: int = 0
    charged_nanousd: int = 0

    @property
    def total_nanousd(self) -> int:
        """All of it."""
        return self.used_nanousd + self.overhead_nanousd

    @property
    def overhead_nanousd(self) -> int:
        """Time of its replicas that no request used."""
        return self.load_nanousd + self.idle_nanousd + self.drain_nanousd + self.sleep_nanousd + self.failed_nanousd


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """All accounts of a time. `owed` is what the devices cost, and equals all that is booked, to the nano-dollar."""

    owed_nanousd: int
    charged_nanousd: int
    free_nanousd: dict[str, int]
    fragment_nanousd: dict[str, int]
    models: tuple[ModelCost, ...]
    borne_nanousd: dict[str, dict[str, int]]

    @property
    def residual_nanousd(self) -> int:
        """What is owed and not booked anywhere: always 0."""
        unheld = sum(self.free_nanousd.values()) + sum(self.fragment_nanousd.values())
        return self.owed_nanousd - unheld - sum(m.total_nanousd for m in self.models)


def statement(balances: Mapping[str, int]) -> Statement:
    """The statement that accounts make.

    >>> made = statement({"used/t/m@v1": 3, "idle/m@v1": 2, "free/p": 5, "owed/p": -10, "revenue/m@v1": -9, "due/t": 9})
    >>> made.owed_nanousd, made.charged_nanousd, made.models[0].total_nanousd, made.residual_nanousd
    (10, 9, 5, 0)
    """
    owed = charged = 0
    unheld: dict[str, dict[str, int]] = {"free": {}, "fragment": {}}
    models: dict[str, dict[str, int]] = {}
    borne: dict[str, dict[str, int]] = {}
    for account, amount in sorted(balances.items()):
        kind, _, rest = account.partition("/")
        if kind == "owed":
            owed -= amount
        elif kind in unheld:
            unheld[kind][rest] = amount
        elif kind == "used":
            _add(models, rest.partition("/")[2], "used_nanousd", amount)
        elif kind in OVERHEADS:
            _add(models, rest, f"{kind}_nanousd", amount)
        elif kind == "revenue":
            charged -= amount
            _add(models, rest, "charged_nanousd", -amount)
        elif kind == "borne":
            tenant, _, cause = rest.partition("/")
            _add(borne, tenant, cause, amount)
    return Statement(
        owed_nanousd=owed,
        charged_nanousd=charged,
        free_nanousd=unheld["free"],
        fragment_nanousd=unheld["fragment"],
        models=tuple(ModelCost(model=name, **sums) for name, sums in sorted(models.items())),
        borne_nanousd=borne,
    )


def _add(sums: dict[str, dict[str, int]], name: str, field: str, amount: int) -> None:
    of = sums.setdefault(name, {})
    of[field] = of.get(field, 0) + amount


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """One model beside a closed API, for what was really asked of it.

    `elsewhere` is what the API would have charged. Utilisation is the part of its replicas' cost that requests used;
    at `break_even_ppm` of it both cost the same: v = elsewhere / used, u* = 1 / v, since a replica that costs R an hour
    and is used u of it does work the API would charge u v R for.
    """

    model: str
    own_nanousd: int
    elsewhere_nanousd: int
    utilisation_ppm: int
    break_even_ppm: int

    @property
    def wins(self) -> bool:
        """Whether running it oneself was cheaper."""
        return self.own_nanousd < self.elsewhere_nanousd


def compare(
    cost: ModelCost, used: Mapping[Unit, int], market: Price, rate_ppm: int = PPM, work_ppm: int = PPM
) -> Comparison | None:
    """A model against a market price; `rate_ppm` is what devices would cost, of what they do. None without use.

    `work_ppm` is the time the same requests would take, of what they do; what nobody used stays as it is.

    >>> market = Price(id="x", model="m", units={"input_tokens": 1_000, "output_tokens": 1_000})
    >>> made = compare(ModelCost(model="m", used_nanousd=50, idle_nanousd=50), {"output_tokens": 200}, market)
    >>> made.elsewhere_nanousd, made.own_nanousd, made.utilisation_ppm, made.break_even_ppm, made.wins
    (200, 100, 500000, 250000, True)
    """
    elsewhere = charge_nanousd(market, used)
    if not cost.used_nanousd or not elsewhere:
        return None
    used_nanousd = cost.used_nanousd * work_ppm // PPM * rate_ppm // PPM
    own_nanousd = used_nanousd + cost.overhead_nanousd * rate_ppm // PPM
    return Comparison(
        model=cost.model,
        own_nanousd=own_nanousd,
        elsewhere_nanousd=elsewhere,
        utilisation_ppm=used_nanousd * PPM // max(1, own_nanousd),
        break_even_ppm=used_nanousd * PPM // elsewhere,
    )
