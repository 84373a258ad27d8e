"""What is in force: prices that begin and are never rewritten, rates, and models that must not be published."""

import msgspec
import pytest

from headrace.control.market import Market
from headrace.control.records import Records
from headrace.control.terms import Terms, mentioned
from headrace.specs.catalog import PriceSpec, TenantSpec
from headrace.stores.sqlite import SqliteStore
from tests.control.sim import S, SimClock, SimCloud, catalog, model

FIXED = PriceSpec(kind="fixed", units={"input_tokens": 20_000, "output_tokens": 80_000})
DEARER = PriceSpec(kind="fixed", units={"input_tokens": 30_000, "output_tokens": 90_000})


@pytest.fixture
def clock() -> SimClock:
    return SimClock()


@pytest.fixture
def terms(tmp_path, clock: SimClock):
    store = SqliteStore(tmp_path / "t.db")
    yield Terms(store, Records(store, clock), Market(("false",)), clock)
    store.close()


def in_force(terms: Terms) -> dict[tuple[str, str], dict[str, int]]:
    return {(price.model, price.tenant): price.units for price in terms.in_force()}


def test_a_new_price_begins_and_the_old_one_stays_in_the_book(terms: Terms, clock: SimClock):
    """The same price again is no new one."""
    terms.refresh(catalog(model(price=FIXED)))
    terms.refresh(catalog(model(price=FIXED)))
    clock.us += S
    terms.refresh(catalog(model(price=DEARER)))
    assert in_force(terms) == {("m@v1", ""): DEARER.units}
    kept = terms._store.statements.prices()
    assert [price.units for price in kept] == [FIXED.units, DEARER.units]
    assert kept[0].from_us < kept[1].from_us


def test_a_price_is_told_once(terms: Terms):
    """A fixed one is what it rests on."""
    terms.refresh(catalog(model(price=FIXED)))
    terms._records.flush()
    (told,) = [one.reason for one in terms._store.decisions(limit=9) if one.kind == "price.set"]
    assert told == "$0.02 a million input tokens, $0.08 a million output tokens"


def test_a_price_of_the_future_begins_by_itself(terms: Terms, clock: SimClock):
    """Until then the old one holds, and a model that has none yet is not published."""
    later = msgspec.structs.replace(DEARER, from_us=clock.now_us() + 60 * S)
    wanted = catalog(model(price=FIXED), model("fresh", price=later))
    terms.refresh(wanted)
    terms.refresh(catalog(model(price=later), model("fresh", price=later)))
    assert in_force(terms) == {("m@v1", ""): FIXED.units}
    assert "has not begun" in terms.problem(wanted.models[0])
    clock.us += 60 * S
    assert in_force(terms) == {("m@v1", ""): DEARER.units, ("fresh@v1", ""): DEARER.units}


def test_a_tenant_has_its_own_price_as_long_as_the_catalog_says_so(terms: Terms):
    """Taken away, the model's price holds again."""
    own = TenantSpec(name="acme", prices={"m": DEARER})
    terms.refresh(catalog(model(price=FIXED), tenants=(own,)))
    assert in_force(terms) == {("m@v1", ""): FIXED.units, ("m@v1", "acme"): DEARER.units}
    terms.refresh(catalog(model(price=FIXED), tenants=(TenantSpec(name="acme"),)))
    assert in_force(terms) == {("m@v1", ""): FIXED.units}


def test_time_at_cost_is_a_slots_share_of_the_device(terms: Terms):
    """$0.08 an hour, a quarter of the memory, four slots, 20 % on top."""
    terms.refresh(catalog(model(price=PriceSpec(kind="cost_plus", markup_ppm=200_000))))
    per_us = in_force(terms)["m@v1", ""]["busy_us"]
    assert per_us == -(-80_000_000 * 1000 * 1.2 // (3_600_000_000 * 4 * 4))


def test_a_mirrored_price_that_is_not_known_is_a_fault_and_no_price(terms: Terms):
    """Unknown is never 0."""
    wanted = catalog(model(price=PriceSpec(kind="mirror", mirror="openai/nothing")))
    terms.refresh(wanted)
    assert terms.in_force() == ()
    assert "its price is not known" in terms.problem(wanted.models[0])
    assert mentioned(wanted) == ["openai/nothing"]


def test_a_rate_that_changes_begins_now(terms: Terms, clock: SimClock):
    """What a device cost before stays what it cost."""
    one = catalog(model())
    terms.refresh(one)
    clock.us += S
    pool = msgspec.structs.replace(one.pools[0], price_nanousd_per_hour=90_000_000)
    terms.refresh(msgspec.structs.replace(one, pools=(pool,)))
    terms.refresh(msgspec.structs.replace(one, pools=(pool,)))
    assert [rate.nanousd_per_hour for rate in terms.rates("local")] == [80_000_000, 90_000_000]


def test_a_price_of_the_future_that_is_taken_back_does_not_begin(terms: Terms, clock: SimClock):
    """It never was in force, so nothing is rewritten; and the books hold no row for each look."""
    later = msgspec.structs.replace(DEARER, from_us=clock.now_us() + 60 * S)
    terms.refresh(catalog(model(price=FIXED)))
    terms.refresh(catalog(model(price=later)))
    for _ in range(3):
        clock.us += S
        terms.refresh(catalog(model(price=FIXED)))
    assert [price.units for price in terms._store.statements.prices()] == [FIXED.units]
    clock.us += 100 * S
    assert in_force(terms) == {("m@v1", ""): FIXED.units}


def test_a_date_that_is_moved_is_the_only_one(terms: Terms, clock: SimClock):
    """Earlier or later; and a price that has begun stays whatever is wanted then."""
    start_us = clock.now_us()
    terms.refresh(catalog(model(price=FIXED)))
    for seconds in (60, 30, 90):
        terms.refresh(catalog(model(price=msgspec.structs.replace(DEARER, from_us=start_us + seconds * S))))
    clock.us += 60 * S
    assert in_force(terms) == {("m@v1", ""): FIXED.units}
    clock.us += 60 * S
    assert in_force(terms) == {("m@v1", ""): DEARER.units}
    terms.refresh(catalog(model(price=FIXED)))
    assert [(price.units, price.from_us - start_us) for price in terms._store.statements.prices()] == [
        (FIXED.units, 0), (DEARER.units, 90 * S), (FIXED.units, 120 * S),
    ]  # fmt: skip


def test_a_rate_of_the_future_that_is_taken_back_does_not_begin(terms: Terms, clock: SimClock):
    """As with prices."""
    one = catalog(model())
    terms.refresh(one)
    later = msgspec.structs.replace(
        one.pools[0], price_nanousd_per_hour=90_000_000, price_from_us=clock.now_us() + 60 * S
    )
    terms.refresh(msgspec.structs.replace(one, pools=(later,)))
    assert len(terms.rates("local")) == 2
    for _ in range(3):
        clock.us += S
        terms.refresh(one)
    assert [rate.nanousd_per_hour for rate in terms.rates("local")] == [80_000_000]
    assert terms._store.statements.rates() == terms.rates("local")


def test_what_was_in_force_is_the_same_after_a_restart(terms: Terms, clock: SimClock):
    """The book is in the store, and a process that forgets does not set its prices anew."""
    terms.refresh(catalog(model(price=FIXED)))
    before = terms.in_force()
    clock.us += S
    again = Terms(terms._store, terms._records, Market(("false",)), clock)
    again.refresh(catalog(model(price=FIXED)))
    assert again.in_force() == before


@pytest.mark.anyio
async def test_a_model_whose_price_is_not_known_says_so_and_is_not_served(tmp_path):
    """The table that gateways get has its fault and no price of it; the others are served."""
    unknown = model("unknown", price=PriceSpec(kind="mirror", mirror="openai/nothing"))
    cloud = SimCloud(tmp_path, catalog(model(), unknown))
    await cloud.loop.round()
    faults = {route.name: route.fault for route in cloud.table.models}
    assert faults["m"] == ""
    assert "its price is not known" in faults["unknown"]
    assert [price.model for price in cloud.table.prices] == ["m@v1"]
