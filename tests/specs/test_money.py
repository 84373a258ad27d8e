"""Money in the cloud file: every price resolved to integers, every gap and contradiction told."""

import pytest

from tests.specs.files import catalog, changed, only

GOOD_PRICE = "    memory: 600MiB\n"


def priced(price: str) -> str:
    return changed(GOOD_PRICE, f"{GOOD_PRICE}    price: {price}\n")


def budgeted(budget: str) -> str:
    return changed(GOOD_PRICE, f"{GOOD_PRICE}    budget: {budget}\n")


def pooled(price: str) -> str:
    return changed("price_per_hour: 0.08", price)


def test_unit_prices_are_picodollars_each():
    """$0.02 a million tokens is 20,000 pico-dollars a token; half a nano-dollar is not lost."""
    price = (
        catalog(priced("{input_tokens: 0.02, cached_tokens: 0.0025, output_tokens: '0.08', slot_hour: 3.6}"))
        .models[0]
        .price
    )
    assert price.kind == "fixed"
    assert price.units == {"input_tokens": 20_000, "cached_tokens": 2_500, "output_tokens": 80_000, "busy_us": 1_000}


@pytest.mark.parametrize(
    ("pool", "nanousd", "basis"),
    [
        ("price_per_hour: 2.10", 2_100_000_000, "on_demand"),
        ("reserved_per_month: 730", 1_000_000_000, "reserved"),
        ("owned: {purchase: 8766, years: 1, power_watts: 700, power_per_kwh: 0.10}", 1_070_000_000, "amortised"),
    ],
)
def test_a_device_has_one_price_an_hour(pool: str, nanousd: int, basis: str):
    """On demand, reserved, or bought: its purchase over its years and its power."""
    found = catalog(pooled(pool)).pools[0]
    assert (found.price_nanousd_per_hour, found.price_basis) == (nanousd, basis)


def test_what_is_said_of_dates_budgets_and_tenants_prices_is_kept():
    """Midnight UTC; nano-dollars; by model."""
    text = changed(
        "  default: {models: [small]}",
        """  default:
    models: [small]
    budget: {month: 40, day: 2.5, at_limit: degrade, warn: [80]}
    prices: {small: {cost_plus: 20, begins: 2026-12-01}}""",
    )
    tenant = catalog(text).tenants[0]
    assert [(b.period, b.limit_nanousd, b.at_limit, b.warn_percent) for b in tenant.budgets] == [
        ("day", 2_500_000_000, "degrade", (80,)), ("month", 40_000_000_000, "degrade", (80,)),
    ]  # fmt: skip
    assert (tenant.prices["small"].markup_ppm, tenant.prices["small"].from_us) == (200_000, 1_796_083_200_000_000)


def test_a_model_may_have_a_budget_of_its_own():
    """In the form that tenants have; its replicas are what they were."""
    model = catalog(budgeted("{day: 5, at_limit: notify}")).models[0]
    assert [(b.period, b.limit_nanousd, b.at_limit, b.warn_percent) for b in model.budgets] == [
        ("day", 5_000_000_000, "notify", (50, 80, 100))
    ]
    assert model.digest == catalog().models[0].digest


def test_what_versions_share_is_told_once():
    text = budgeted("{}").replace("    budget", "    versions: {v1: {}, v2: {}}\n    budget")
    assert only(text) == "cloud.yaml:11:13 models.small.budget: names no period; give day, month or total"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (pooled("owned: {purchase: 1, years: 1}, price_per_hour: 1"), "has one price, remove one of them"),
        (priced("{input_tokens: 0.02}"), "does not price chat: give input_tokens and output_tokens or requests or slot_hour"),
        (priced("{input_tokens: 0.02, output_tokens: 1, mirror: openai/gpt-4o-mini}"), "give unit prices, or cost_plus, or mirror"),
        (priced("{input_tokens: 0, output_tokens: 0}"), "is 0 for everything"),
        (priced("{input_tokens: -1, output_tokens: 0}"), "write dollars like 2.10"),
        (priced("{mirror: gpt-4o}"), "write PROVIDER/MODEL, like openai/gpt-4o-mini"),
        (priced("{cost_plus: 5, begins: 2026-02-30}"), "no day of the calendar"),
        (pooled("count: 1"), "has no price, and pool local none to go by"),
        (pooled("price_per_hour: 0"), "has no price, and pool local costs 0"),
        (changed("{models: [small]}", "{prices: {smal: {cost_plus: 1}}}"), "no model is called 'smal'; did you mean small?"),
        (changed("{models: [small]}", "{budget: {}}"), "names no period; give day, month or total"),
        (changed("{models: [small]}", "{budget: {month: 0}}"), "month: is 0; to let a tenant do nothing"),
        (budgeted("{day: 0}"), "models.small.budget.day: is 0; leave the model out"),
        (budgeted("{day: 5, at_limit: degrade}"), "is degrade, and a model's budget shortens nobody's answers; give refuse or notify"),
        (budgeted("{week: 5}"), "models.small.budget.week"),
    ],
)  # fmt: skip
def test_what_is_missing_or_at_odds_is_told(text: str, told: str):
    """With the place and the fix; unknown never costs zero."""
    assert told in only(text), only(text)
