"""What is in force: prices of models and rates of devices, from what the catalog wants and what is already kept.

A price that changes begins at its date, or now when that has passed; what has begun stays as it was, so any moment of
the past can be priced as it was priced then. A price whose date is still to come is forgotten when it is not wanted
any more: else it would begin by itself.
"""

from typing import Final

from headrace.control.market import Market
from headrace.control.records import Records
from headrace.economics.prices import PPM, by_time, price_id
from headrace.ports import Clock, Rate, Store
from headrace.specs import money
from headrace.specs.catalog import Catalog, ModelSpec, PriceSpec
from headrace.specs.priced import missing
from headrace.state.table import Price

RATE_UNKNOWN: Final = "unknown"


class Terms:
    """The prices and rates of one cloud."""

    def __init__(self, store: Store, records: Records, market: Market, clock: Clock) -> None:
        self._store = store
        self._records = records
        self._clock = clock
        self.market = market
        self._prices = store.statements.prices()
        self._rates = store.statements.rates()
        self._tenants: dict[str, frozenset[str]] = {}  # model name: tenants with a price of their own

    def refresh(self, catalog: Catalog) -> None:
        """Keep what the catalog wants and is not kept yet."""
        now_us = self._clock.now_us()
        rates = [
            Rate(
                pool=pool.name,
                from_us=max(now_us, pool.price_from_us),
                nanousd_per_hour=pool.price_nanousd_per_hour,
                basis=pool.price_basis,
            )
            for pool in catalog.pools
            if pool.price_nanousd_per_hour is not None
        ]
        wanted: list[Price | Rate] = [*rates]
        self._tenants = {
            model.name: frozenset(t.name for t in catalog.tenants if model.name in t.prices) for model in catalog.models
        }
        for model in catalog.models:
            specs = {"": model.price} | {
                t.name: t.prices[model.name] for t in catalog.tenants if model.name in t.prices
            }
            for tenant, spec in specs.items():
                price = self._price(catalog, model, tenant, spec, now_us)
                if price is not None:
                    wanted.append(price)
        withdrawn = self._withdrawn(wanted, now_us)
        new_rates = [rate for rate in wanted if isinstance(rate, Rate) and not self._kept_rate(rate)]
        new_prices = [price for price in wanted if isinstance(price, Price) and not self._kept_price(price)]
        if not new_rates and not new_prices and not withdrawn:
            return
        self._store.terms(prices=new_prices, rates=new_rates, withdrawn=withdrawn)
        self._prices, self._rates = self._store.statements.prices(), self._store.statements.rates()
        for price in new_prices:
            whose = f" for tenant {price.tenant}" if price.tenant else ""
            told = money.units_shown(price.units)
            basis = f" ({price.basis})" if price.basis != told else ""
            self._records.decide("price.set", price.model, f"{told}{whose}{basis}")

    def _price(self, catalog: Catalog, model: ModelSpec, tenant: str, spec: PriceSpec, now_us: int) -> Price | None:
        units = self._units(catalog, model, spec)
        if units is None:
            return None
        return Price(
            id=price_id(spec.kind, model.key, tenant, units),
            model=model.key,
            units=units,
            tenant=tenant,
            from_us=max(now_us, spec.from_us),
            basis=money.shown(spec) + (f", {self.market.source(spec.mirror)}" if spec.mirror else ""),
        )

    def _units(self, catalog: Catalog, model: ModelSpec, spec: PriceSpec) -> dict[str, int] | None:
        if spec.kind == "fixed":
            return spec.units
        if spec.kind == "mirror":
            listed = self.market.units(spec.mirror)
            if listed is None or missing(model.task, listed):
                return None
            return {unit: -(-pico * (PPM - spec.discount_ppm) // PPM) for unit, pico in listed.items()}
        dearest = 0  # wherever it runs, one price
        for name in model.pools:
            pool = catalog.pool(name)
            if pool is None or not pool.price_nanousd_per_hour:
                return None
            share = min(PPM, -(-model.memory_bytes * PPM // pool.memory_bytes))
            each = by_time(pool.price_nanousd_per_hour, share, model.engine.slots, spec.markup_ppm)
            dearest = max(dearest, each)
        return {"busy_us": dearest} if dearest else None

    def _withdrawn(self, wanted: list[Price | Rate], now_us: int) -> list[Price | Rate]:
        """What was to begin later, and is wanted otherwise now; it counts no more."""
        by_place = {_place(term): term for term in wanted}
        kept: list[Price | Rate] = [*self._prices, *self._rates]
        found = [
            term
            for term in kept
            if term.from_us > now_us
            and (other := by_place.get(_place(term))) is not None
            and (other.from_us, _said(other)) != (term.from_us, _said(term))
        ]
        self._prices = [price for price in self._prices if price not in found]
        self._rates = [rate for rate in self._rates if rate not in found]
        return found

    def _kept_price(self, price: Price) -> bool:
        """Whether the newest price of its kind that begins no later is the same."""
        older = [p for p in self._prices if (p.model, p.tenant) == (price.model, price.tenant)]
        return any(p.id == price.id and p.from_us <= price.from_us for p in older[-1:]) or any(
            p.id == price.id and p.from_us == price.from_us for p in older
        )

    def _kept_rate(self, rate: Rate) -> bool:
        older = [r for r in self._rates if r.pool == rate.pool]
        return bool(older) and (older[-1].nanousd_per_hour, older[-1].basis) == (rate.nanousd_per_hour, rate.basis)

    def in_force(self) -> tuple[Price, ...]:
        """The price of each model, and of each tenant that has its own, now."""
        now_us = self._clock.now_us()
        found: dict[tuple[str, str], Price] = {}
        for price in self._prices:  # oldest first
            own = not price.tenant or price.tenant in self._tenants.get(price.model.partition("@")[0], ())
            if price.from_us <= now_us and own:
                found[price.model, price.tenant] = price
        return tuple(found.values())

    def problem(self, model: ModelSpec) -> str:
        """Why a model cannot be published, as far as its price goes; empty when it can."""
        if any(price.model == model.key and not price.tenant for price in self.in_force()):
            return ""
        if model.price.kind == "mirror":
            why = self.market.problem(model.price.mirror)
            return f"its price is not known: {why or 'the mirrored price does not cover its task'}"
        return "its price has not begun yet"

    def rates(self, pool: str) -> list[Rate]:
        """What a pool's device costs, oldest first."""
        return [rate for rate in self._rates if rate.pool == pool]


def _place(term: Price | Rate) -> tuple[str, ...]:
    """Of one place, one term is in force."""
    return (term.model, term.tenant) if isinstance(term, Price) else (term.pool,)


def _said(term: Price | Rate) -> tuple[str | int, ...]:
    return (term.id,) if isinstance(term, Price) else (term.nanousd_per_hour, term.basis)


def mentioned(catalog: Catalog) -> list[str]:
    """The closed APIs that a catalog compares with or mirrors."""
    specs = [model.price for model in catalog.models]
    specs += [spec for tenant in catalog.tenants for spec in tenant.prices.values()]
    return [*(model.compare_to for model in catalog.models if model.compare_to), *(s.mirror for s in specs if s.mirror)]
