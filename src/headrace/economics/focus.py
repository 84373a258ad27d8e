"""FOCUS 1.2 rows (the FinOps Open Cost and Usage Specification) from an hour of the roll-ups, exact to the nano-dollar.

What the columns add up to, over any whole hours:

    BilledCost      what tenants were charged: the balance of `due/…`
    x_DeviceCost    what devices cost: the balance of `owed/…`, taken negative
    EffectiveCost   what tenants were charged, and what nobody was: load, idle, drain, failed work, what is free

`x_Kind` says what a row is:

    usage       a unit of a model's work: list price, negotiated price, quantity
    rounding    charges are rounded up once a request, and are never more than what was held: the rest of the sum
    uncharged   device time of requests that used nothing that is charged
    overhead    device time that no request took, one row for each hour, cause and model or pool; nobody is billed
    timing      device time of this hour for requests that ended in another one, or the reverse
    correction  what the ledger has for a tenant beyond its requests' charges, such as a reversal

Formula:  cost = unit price x quantity, exactly, and also when both are read as 64-bit floats, as validators do: a
          quantity for which that fails is told in two rows or more (`lots`).
Units:    dollars with at most 12 decimals, from integer pico-dollars.
Source:   FOCUS 1.2; entries.py for the accounts.
Assumes:  the roll-up has no prices. A price explains an hour's charge when every unit's sum is what it comes to,
          rounded up once a request; when none does (it changed within the hour) the mean price is shown, rounded
          down, and `x_PriceBasis` is `mean` instead of `list`.
Example:  `lots(3, (100_000_000_000,))` is `[2, 1]`, since 3 x 0.1 is not 0.3 in floats.
"""

import datetime
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from headrace.economics.entries import HOUR_US
from headrace.economics.prices import PICOUSD_PER_NANOUSD, lines
from headrace.specs.priced import PICOUSD_PER_USD
from headrace.state.table import Price

VERSION: Final = "1.2"
ISSUER: Final = "Headrace"
REQUESTS: Final = "requests"
OVERHEADS: Final = ("load", "idle", "drain", "sleep", "failed", "free", "fragment")
COLUMNS: Final = (
    "BilledCost", "BillingAccountId", "BillingAccountName", "BillingAccountType", "BillingCurrency", "BillingPeriodEnd",
    "BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargeFrequency", "ChargePeriodEnd",
    "ChargePeriodStart", "CommitmentDiscountStatus", "ConsumedQuantity", "ConsumedUnit", "ContractedCost",
    "ContractedUnitPrice", "EffectiveCost",
    "InvoiceId", "InvoiceIssuerName", "ListCost", "ListUnitPrice", "PricingCategory", "PricingCurrency",
    "PricingCurrencyContractedUnitPrice", "PricingCurrencyEffectiveCost", "PricingCurrencyListUnitPrice",
    "PricingQuantity", "PricingUnit", "ProviderName", "PublisherName", "ResourceId", "ResourceName", "ResourceType",
    "ServiceCategory", "ServiceName", "ServiceSubcategory", "SkuId", "SkuMeter", "SkuPriceDetails", "SkuPriceId",
    "SubAccountId", "SubAccountName", "SubAccountType", "x_Cause", "x_DeviceCost", "x_Key", "x_Kind", "x_Model",
    "x_PriceBasis", "x_Task", "x_Team", "x_Version",
)  # fmt: skip
_UNITS: Final = {
    "input_tokens": "Tokens", "cached_tokens": "Tokens", "output_tokens": "Tokens", "reasoning_tokens": "Tokens",
    "audio_ms": "Milliseconds", "video_ms": "Milliseconds", "busy_us": "Microseconds",
}  # fmt: skip
_SAME: Final = {
    "PricingCurrency": "BillingCurrency",
    "PricingCurrencyContractedUnitPrice": "ContractedUnitPrice",
    "PricingCurrencyEffectiveCost": "EffectiveCost",
    "PricingCurrencyListUnitPrice": "ListUnitPrice",
}
_WHY: Final = {
    "load": "starting replicas", "idle": "replicas that were ready and had nothing to do",
    "sleep": "replicas that slept", "drain": "replicas that were told to go", "failed": "attempts that came to nothing",
    "free": "capacity that nobody held",
    "fragment": "capacity beside replicas, too little for any model",
}  # fmt: skip
_ACCOUNT: Final = "headrace"  # one cloud is one billing account
Row = dict[str, str]
_Place = tuple[str, str, str, str, str, str]  # tenant, team, key, model, version, task


def dollars(picousd: int) -> str:
    """Pico-dollars as dollars, in as many decimals as it takes, one at least: readers of CSV guess types by the point.

    >>> dollars(1_500_000_000_000), dollars(-20_000), dollars(0)
    ('1.5', '-0.00000002', '0.0')
    """
    whole, part = divmod(abs(picousd), PICOUSD_PER_USD)
    text = f"{whole}.{part:012d}".rstrip("0")
    text += "0" if text[-1] == "." else ""
    return f"-{text}" if picousd < 0 else text


def lots(quantity: int, prices: Sequence[int]) -> list[int]:
    """A quantity in parts whose costs, at each of these prices, are exact in floats as well; one part when it can be.

    A part that is a power of two always is: scaling by it rounds nothing. So there always is an answer.

    >>> lots(31, (20_000,)), lots(3, (100_000_000_000,))
    ([31], [2, 1])
    """
    found: list[int] = []
    rest = quantity
    while rest:
        if _survives(rest, prices):
            return [*found, rest]
        part = 1
        while part < rest and not _survives(rest - part, prices):
            part *= 2
        if part < rest:
            return [*found, rest - part, part]
        highest = 1 << (rest.bit_length() - 1)
        found.append(highest)
        rest -= highest
    return found


def _survives(quantity: int, prices: Sequence[int]) -> bool:
    return all(each / PICOUSD_PER_USD * quantity == each * quantity / PICOUSD_PER_USD for each in prices)


class Prices:
    """Every price there was, looked up for one place in an hour."""

    def __init__(self, prices: Iterable[Price]) -> None:
        self._by: dict[tuple[str, str], list[Price]] = {}
        for price in sorted(prices, key=lambda price: (-price.from_us, price.id)):
            self._by.setdefault((price.model, price.tenant), []).append(price)

    def explain(self, place: _Place, hour_us: int, used: Mapping[str, tuple[int, int]]) -> Price | None:
        """The price by which what was used comes to what was charged: the tenant's own first, then the newest."""
        tenant, model = place[0], f"{place[3]}@{place[4]}"
        for whose in (tenant, ""):
            for price in self._by.get((model, whose), ()):
                if price.from_us < hour_us + HOUR_US and _explains(price, used):
                    return price
        return None

    def listed(self, price: Price, hour_us: int) -> Price:
        """What everybody else pays for the same: the list price beside a tenant's own."""
        if price.tenant:
            for other in self._by.get((price.model, ""), ()):
                if other.from_us < hour_us + HOUR_US:
                    return other
        return price


def _explains(price: Price, used: Mapping[str, tuple[int, int]]) -> bool:
    """`used` is amount and charge by unit; the charge of `requests` is that of all."""
    requests, whole = used.get(REQUESTS, (0, 0))
    exact, slack = 0, PICOUSD_PER_NANOUSD * max(1, requests)
    each = _each(price, used)
    for unit, (amount, charge) in used.items():
        exact += each.get(unit, 0) * amount
        if unit != REQUESTS and not 0 <= charge * PICOUSD_PER_NANOUSD - each.get(unit, 0) * amount < slack:
            return False
    return 0 <= whole * PICOUSD_PER_NANOUSD - exact < slack


def _each(price: Price, used: Mapping[str, tuple[int, int]]) -> dict[str, int]:
    amounts: dict[Any, int] = {unit: amount for unit, (amount, _) in used.items()}
    return {unit: per for unit, _, per in lines(price, amounts)}


def _mean(used: Mapping[str, tuple[int, int]]) -> dict[str, int]:
    """What units cost on average, rounded down; requests what is left of the whole."""
    amount, whole = used.get(REQUESTS, (0, 0))
    others = {unit: pair for unit, pair in used.items() if unit != REQUESTS}
    own = max(0, whole - sum(charge for _, charge in others.values()))
    each = {unit: charge * PICOUSD_PER_NANOUSD // number for unit, (number, charge) in others.items() if number}
    return each | ({REQUESTS: own * PICOUSD_PER_NANOUSD // amount} if amount else {})


def hour_rows(
    hour_us: int, spend: Iterable[Mapping[str, Any]], balances: Mapping[str, int], prices: Prices
) -> list[Row]:
    """The rows of one hour, in a stable order. `spend` is that hour by every dimension, `balances` what moved in it."""
    base = _hour(hour_us)
    groups: dict[_Place, dict[str, tuple[int, int]]] = {}
    costs: dict[_Place, int] = {}
    for one in spend:
        place = (one["tenant"], one["team"], one["key"], one["model"], one["version"], one["task"])
        groups.setdefault(place, {})[one["unit"]] = (one["amount"], one["charge_nanousd"])
        costs[place] = costs.get(place, 0) + one["cost_nanousd"]
    found: list[Row] = []
    due: dict[str, int] = {}
    taken: dict[str, int] = {}
    for place in sorted(groups):
        found += _place_rows(base, hour_us, place, groups[place], costs[place], prices)
        account, used = f"due/{place[0]}", f"used/{place[0]}/{place[3]}@{place[4]}"
        due[account] = due.get(account, 0) + groups[place].get(REQUESTS, (0, 0))[1]
        taken[used] = taken.get(used, 0) + costs[place]
    for account in sorted({*balances, *due, *taken}):
        found += _account_rows(base, account, balances.get(account, 0), due.get(account, 0), taken.get(account, 0))
    return found


def cells(row: Row) -> list[str]:
    """A row in the order of `COLUMNS`; empty is null. Prices are in the currency of the bill."""
    return [row.get(_SAME.get(column, column), "") for column in COLUMNS]


def _place_rows(
    base: Row, hour_us: int, place: _Place, used: Mapping[str, tuple[int, int]], cost: int, prices: Prices
) -> list[Row]:
    """Everything one key used of one model version in an hour, and what its charges come to beyond that."""
    tenant, team, key, model, version, task = place
    said = {"x_Team": team, "x_Key": key, "x_Task": task}
    mine = base | _tenant(tenant) | _model(f"{model}@{version}") | said
    price = prices.explain(place, hour_us, used)
    each = _each(price, used) if price else _mean(used)
    listed = _each(prices.listed(price, hour_us), used) if price else each
    found, exact = [], 0
    for unit in sorted(used, key=lambda unit: (unit != REQUESTS, unit)):
        per, on_list = each.get(unit, 0), listed.get(unit, 0)
        for lot in lots(used[unit][0], (per, on_list)):
            exact += per * lot
            named = {"SkuPriceId": f"{price.id}/{unit}" if price else f"mean/{model}@{version}/{unit}"}
            found.append(mine | named | _priced(unit, lot, per, on_list, "list" if price else "mean"))
            found[-1] |= {"SkuId": f"{model}@{version}/{unit}"}
    if found:
        found[0]["x_DeviceCost"] = dollars(cost * PICOUSD_PER_NANOUSD)
    elif cost:
        about = f"Device time of requests to {model}@{version} that used nothing that is charged"
        found.append(mine | _adjusted("uncharged", about, 0, cost))
    rest = used.get(REQUESTS, (0, 0))[1] * PICOUSD_PER_NANOUSD - exact
    if rest:
        about = f"Rounding of {used.get(REQUESTS, (0, 0))[0]} charges of {model}@{version}, once a request"
        found.append(mine | _adjusted("rounding", about, rest, 0))
    return found


def _account_rows(base: Row, account: str, balance: int, due: int, taken: int) -> list[Row]:
    """What the ledger has for an account beyond the rows of requests."""
    kind, _, rest = account.partition("/")
    if kind in OVERHEADS and balance:
        return [base | _overhead(kind, rest, balance * PICOUSD_PER_NANOUSD)]
    if kind == "due" and balance != due:
        more = (balance - due) * PICOUSD_PER_NANOUSD
        about = f"Corrections for tenant {rest}, in the hour in which they were made"
        return [base | _tenant(rest) | _adjusted("correction", about, more, 0)]
    if kind == "used" and balance != taken:
        tenant, _, model = rest.partition("/")
        about = f"Device time of {model} in this hour for requests that ended in another, or the reverse"
        return [base | _tenant(tenant) | _model(model) | _adjusted("timing", about, 0, balance - taken)]
    return []


# --- parts of rows ----------------------------------------------------------------------------------------------


def invoice(at_us: int) -> str:
    """Names the statement of one billing period, the calendar month in UTC that a moment lies in.

    >>> invoice(0)
    'headrace-1970-01'
    """
    return f"{_ACCOUNT}-{datetime.datetime.fromtimestamp(at_us // 1_000_000, datetime.UTC):%Y-%m}"


def _hour(hour_us: int) -> Row:
    start = datetime.datetime.fromtimestamp(hour_us // 1_000_000, datetime.UTC)
    month = start.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    after = (month + datetime.timedelta(days=32)).replace(day=1)
    return {
        "BillingAccountId": _ACCOUNT,
        "BillingAccountName": ISSUER,
        "BillingAccountType": "Cloud",
        "BillingCurrency": "USD",
        "BillingPeriodStart": _moment(month),
        "BillingPeriodEnd": _moment(after),
        "ChargePeriodStart": _moment(start),
        "ChargePeriodEnd": _moment(start + datetime.timedelta(hours=1)),
        "ChargeFrequency": "Usage-Based",
        "InvoiceId": invoice(hour_us),
        "InvoiceIssuerName": ISSUER,
        "ProviderName": ISSUER,
        "PublisherName": ISSUER,
        "ServiceCategory": "AI and Machine Learning",
        "ServiceName": "Headrace inference",
        "ServiceSubcategory": "Generative AI",
        "x_DeviceCost": "0.0",
    }


def _moment(at: datetime.datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _tenant(name: str) -> Row:
    return {"SubAccountId": name, "SubAccountName": name, "SubAccountType": "Tenant"}


def _model(key: str) -> Row:
    name, _, version = key.partition("@")
    return {
        "ResourceId": key, "ResourceName": name, "ResourceType": "Model", "x_Model": name, "x_Version": version,
    }  # fmt: skip


def _priced(unit: str, quantity: int, each: int, listed: int, basis: str) -> Row:
    cost, called = dollars(each * quantity), _UNITS.get(unit, unit.replace("_", " ").title())
    return {
        "ChargeCategory": "Usage",
        "ChargeDescription": f"{quantity} {unit} at {dollars(each)} USD each",
        "SkuMeter": unit,
        "SkuPriceDetails": f'{{"x_Basis": "{basis}"}}',
        "PricingCategory": "Standard" if basis == "list" else "Other",
        "PricingQuantity": f"{quantity}.0",
        "PricingUnit": called,
        "ConsumedQuantity": f"{quantity}.0",
        "ConsumedUnit": called,
        "ListUnitPrice": dollars(listed),
        "ListCost": dollars(listed * quantity),
        "ContractedUnitPrice": dollars(each),
        "ContractedCost": cost,
        "BilledCost": cost,
        "EffectiveCost": cost,
        "x_Kind": "usage",
        "x_PriceBasis": basis,
    }


def _overhead(cause: str, of: str, picousd: int) -> Row:
    cost = dollars(picousd)
    where = (
        {"ResourceId": of, "ResourceName": of, "ResourceType": "Pool"} if cause in ("free", "fragment") else _model(of)
    )
    return where | {
        "ChargeCategory": "Usage",
        "ChargeDescription": f"{_WHY[cause].capitalize()}: {of}, one hour; nobody is billed for it",
        "SkuId": f"{of}/{cause}",
        "SkuMeter": cause,
        "SkuPriceDetails": '{"x_Basis": "cost"}',
        "SkuPriceId": f"{of}/{cause}",
        "PricingCategory": "Other",
        "PricingQuantity": "1.0",
        "PricingUnit": "Hours",
        "ConsumedQuantity": "1.0",
        "ConsumedUnit": "Hours",
        "ListUnitPrice": cost,
        "ListCost": cost,
        "ContractedUnitPrice": cost,
        "ContractedCost": cost,
        "BilledCost": "0.0",
        "EffectiveCost": cost,
        "x_Kind": "overhead",
        "x_Cause": cause,
        "x_DeviceCost": cost,
    }


def _adjusted(kind: str, about: str, picousd: int, device_nanousd: int) -> Row:
    cost = dollars(picousd)
    return {
        "ChargeCategory": "Adjustment",
        "ChargeDescription": about,
        "ListCost": cost,
        "ContractedCost": cost,
        "BilledCost": cost,
        "EffectiveCost": cost,
        "x_Kind": kind,
        "x_DeviceCost": dollars(device_nanousd * PICOUSD_PER_NANOUSD),
    }
