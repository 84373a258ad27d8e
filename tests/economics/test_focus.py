"""FOCUS rows: sums are the ledger's to the nano-dollar, prices times quantities are costs, in decimals and in floats."""

import random
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.economics import focus, prices
from headrace.economics.focus import COLUMNS, Prices, Row, cells, hour_rows, lots
from headrace.economics.prices import charge_nanousd
from headrace.state.table import Price

HOUR = 1_700_000_000_000_000 // 3_600_000_000 * 3_600_000_000
LIST = Price(id="l", model="m@v1", units={"input_tokens": 20_000, "output_tokens": 80_001}, from_us=1)
OWN = Price(id="o", model="m@v1", units={"input_tokens": 13, "requests": 7_777}, tenant="b", from_us=1)
NEWER = Price(id="n", model="m@v1", units={"input_tokens": 30_000, "output_tokens": 90_001}, from_us=HOUR + 5)
MANDATORY = {
    "BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd", "BillingPeriodStart",
    "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargePeriodEnd", "ChargePeriodStart", "ContractedCost",
    "EffectiveCost", "InvoiceIssuerName", "ListCost", "PricingQuantity", "PricingUnit", "ProviderName", "PublisherName",
    "ServiceCategory", "ServiceName",
}  # fmt: skip
NULLABLE = {"ChargeClass", "PricingQuantity", "PricingUnit"}
OF_THE_SPECIFICATION = {"Usage", "Purchase", "Tax", "Credit", "Adjustment"}


def rolled(requests: list[tuple[str, str, Price, int, int, int]]) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Requests (tenant, key, price, input, output, cost) as the ledger rolls them up."""
    spend: dict[tuple[str, str, str], list[int]] = {}
    balances: dict[str, int] = {}
    for tenant, key, price, tokens_in, tokens_out, cost in requests:
        used: Any = {unit: n for unit, n in (("input_tokens", tokens_in), ("output_tokens", tokens_out)) if n}
        used["requests"] = 1
        whole = charge_nanousd(price, used)
        shares = {unit: -(-amount * per // 1000) for unit, amount, per in prices.lines(price, used)}
        for unit, amount in used.items():
            sums = spend.setdefault((tenant, key, unit), [0, 0, 0])
            sums[0] += amount
            sums[1] += whole if unit == "requests" else shares.get(unit, 0)
            sums[2] += cost if unit == "requests" else 0
        for account, moved in ((f"due/{tenant}", whole), (f"used/{tenant}/m@v1", cost), ("owed/p", -cost)):
            balances[account] = balances.get(account, 0) + moved
    names = ("amount", "charge_nanousd", "cost_nanousd")
    place = {"team": "t", "model": "m", "version": "v1", "task": "chat"}
    rows = [
        {"tenant": tenant, "key": key, "unit": unit} | place | dict(zip(names, sums, strict=True))
        for (tenant, key, unit), sums in spend.items()
    ]
    return rows, balances


def total(rows: list[Row], column: str) -> int:
    """In pico-dollars."""
    return int(sum(Decimal(row[column]) for row in rows) * 10**12)


def lawful(rows: list[Row]) -> None:
    for row in rows:
        assert set(row) <= set(COLUMNS)
        assert {column for column in MANDATORY - NULLABLE if not row.get(column)} == set()
        assert row["ChargeCategory"] in OF_THE_SPECIFICATION
        if row["ChargeCategory"] == "Usage":
            assert row["PricingUnit"]
            assert Decimal(row["ConsumedQuantity"]) > 0
            for price, cost in (("ListUnitPrice", "ListCost"), ("ContractedUnitPrice", "ContractedCost")):
                assert Decimal(row[price]) * Decimal(row["PricingQuantity"]) == Decimal(row[cost])
                assert float(row[price]) * float(row["PricingQuantity"]) == float(row[cost])
        else:
            assert not row.get("PricingQuantity")


some_requests = st.lists(
    st.tuples(
        st.sampled_from("ab"), st.sampled_from("kl"), st.sampled_from([LIST, OWN, NEWER]), st.integers(0, 3_000_000),
        st.integers(0, 20_000), st.integers(0, 10**8),
    ),
    max_size=12,
)  # fmt: skip
overheads = st.dictionaries(
    st.sampled_from(["idle/m@v1", "load/m@v1", "drain/m@v1", "failed/m@v1", "free/p"]), st.integers(1, 10**10)
)


@settings(max_examples=150, deadline=None)
@given(some_requests, overheads, st.integers(-(10**6), 10**6), st.integers(-(10**6), 10**6), st.randoms())
def test_sums_are_the_ledger_s_in_any_order(requests, wasted, corrected, later, rng: random.Random):
    """Charges, device costs and overheads, with corrections and requests across hours; order changes nothing."""
    spend, balances = rolled(requests)
    for account, amount in wasted.items():
        balances[account] = amount
        balances["owed/p"] = balances.get("owed/p", 0) - amount
    balances["due/a"] = balances.get("due/a", 0) + corrected
    balances["used/a/m@v1"] = balances.get("used/a/m@v1", 0) + later
    balances["owed/p"] = balances.get("owed/p", 0) - later
    book = Prices([LIST, OWN, NEWER])
    rows = hour_rows(HOUR, spend, balances, book)
    lawful(rows)
    charged = sum(amount for account, amount in balances.items() if account.startswith("due/"))
    assert total(rows, "BilledCost") == charged * 1000
    assert total(rows, "x_DeviceCost") == -balances["owed/p"] * 1000
    assert total(rows, "EffectiveCost") == (charged + sum(wasted.values())) * 1000
    assert sum(row["x_Kind"] == "overhead" for row in rows) == len(wasted)
    rng.shuffle(spend)
    again = dict(rng.sample(sorted(balances.items()), len(balances)))
    assert hour_rows(HOUR, spend, again, Prices([NEWER, OWN, LIST])) == rows


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 1 << 45), st.lists(st.integers(0, 10**13), min_size=1, max_size=2))
def test_lots_add_up_and_survive_floats(quantity: int, each: list[int]):
    """Whatever the prices; the parts are few."""
    parts = lots(quantity, each)
    assert sum(parts) == quantity
    assert len(parts) <= 8
    for part in parts:
        for price in each:
            assert float(focus.dollars(price)) * float(part) == float(focus.dollars(price * part))


def test_a_unit_is_told_at_its_list_price_and_at_the_tenant_s_own():
    """The list price beside the negotiated one; what is rounded stands in a row of its own."""
    spend, balances = rolled([("b", "k", OWN, 31, 0, 5)])
    rows = hour_rows(HOUR, spend, balances, Prices([LIST, OWN]))
    by = {row.get("SkuMeter", "rounding"): row for row in rows}
    assert set(by) == {"requests", "input_tokens", "rounding"}
    assert (by["input_tokens"]["ListUnitPrice"], by["input_tokens"]["ContractedUnitPrice"]) == (
        "0.00000002", "0.000000000013",
    )  # fmt: skip
    assert (by["input_tokens"]["SkuPriceId"], by["input_tokens"]["PricingUnit"]) == ("o/input_tokens", "Tokens")
    assert by["requests"]["x_DeviceCost"] == "0.000000005"
    assert by["rounding"]["BilledCost"] == "0.00000000082"  # 9,000 pico-dollars for 8,180


def test_a_price_that_changed_within_the_hour_is_told_as_a_mean():
    """The sum stays exact, and the row says that no list price explains it."""
    spend, balances = rolled([("a", "k", LIST, 1000, 0, 0), ("a", "k", NEWER, 1000, 0, 0)])
    rows = hour_rows(HOUR, spend, balances, Prices([LIST, NEWER]))
    tokens = next(row for row in rows if row.get("SkuMeter") == "input_tokens")
    assert (tokens["x_PriceBasis"], tokens["ListUnitPrice"]) == ("mean", "0.000000025")
    assert total(rows, "BilledCost") == balances["due/a"] * 1000
    unchanged, sums = rolled([("a", "k", LIST, 1000, 0, 0)])
    assert {r["x_PriceBasis"] for r in hour_rows(HOUR, unchanged, sums, Prices([LIST, NEWER]))} == {"list"}


def test_idle_rows_are_rows():
    """One for each hour, cause and model or pool; nobody is billed, and the time is there with its period."""
    rows = hour_rows(HOUR, [], {"idle/m@v1": 80_000_000, "free/local": 7, "owed/local": -80_000_007}, Prices([]))
    assert [(row["x_Cause"], row["ResourceType"], row["BilledCost"], row["EffectiveCost"]) for row in rows] == [
        ("free", "Pool", "0.0", "0.000000007"), ("idle", "Model", "0.0", "0.08"),
    ]  # fmt: skip
    assert rows[0]["ChargePeriodStart"] == "2023-11-14T22:00:00Z"
    assert (rows[0]["BillingPeriodStart"], rows[0]["BillingPeriodEnd"]) == (
        "2023-11-01T00:00:00Z", "2023-12-01T00:00:00Z",
    )  # fmt: skip


def test_a_row_names_the_statement_of_its_month():
    """The whole month is one statement, in UTC; the next hour begins another."""
    november_ends_us = 1_701_388_800_000_000
    names = [focus.invoice(at_us) for at_us in (HOUR, november_ends_us - 1, november_ends_us)]
    assert names == ["headrace-2023-11", "headrace-2023-11", "headrace-2023-12"]
    (row,) = hour_rows(HOUR, [], {"free/local": 7, "owed/local": -7}, Prices([]))
    assert row["InvoiceId"] == names[0]


def test_device_time_of_requests_that_used_nothing_is_there():
    """Their failure was ours; the device cost is told all the same."""
    spend = [{"tenant": "a", "team": "", "key": "k", "model": "m", "version": "v1", "task": "chat", "unit": "requests",
              "amount": 0, "charge_nanousd": 0, "cost_nanousd": 9}]  # fmt: skip
    (row,) = hour_rows(HOUR, spend, {"used/a/m@v1": 9}, Prices([]))
    assert (row["x_Kind"], row["x_DeviceCost"], row["BilledCost"]) == ("uncharged", "0.000000009", "0.0")


def test_all_mandatory_columns_are_there_and_the_others_are_of_the_specification_or_ours():
    """In alphabetical order; ours begin with x_."""
    assert set(COLUMNS) >= MANDATORY
    ours = [column for column in COLUMNS if column.startswith("x_")]
    assert list(COLUMNS) == sorted(set(COLUMNS) - set(ours)) + sorted(ours)
    assert len(cells({})) == len(COLUMNS)
