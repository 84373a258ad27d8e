"""Exports over a real store: what they add up to is what the ledger says, and what cannot be asked is said."""

import csv
import datetime
import io
import json as text_json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from headrace.control.admin.exports import HOUR_US
from headrace.economics import entries
from headrace.economics.booking import Part
from headrace.economics.prices import charge_nanousd
from headrace.state.table import Price
from headrace.state.usage import Usage
from tests.control.admin.test_app import Door, error

DAY_US = 24 * HOUR_US
NIGHT = 11 * DAY_US  # 1970-01-12, in which the simulated clock stands


@pytest.fixture
def door(tmp_path: Path) -> Door:
    found = Door(tmp_path)
    found.clock.us += 3 * DAY_US
    price = next(price for price in found.control.terms.in_force() if price.model == "m@v1")
    own = Price(id="own", model="m@v1", tenant="team", units={"input_tokens": 13}, from_us=1)
    found.store.terms(prices=[own])
    for hour in range(30):
        for tenant, agreed in (("default", price), ("team", own)):
            number = len(found.store.usage_list(limit=1000))
            used: Any = {"input_tokens": 31 + number, "output_tokens": 7 * hour, "requests": 1}
            row = Usage(
                request=f"req_{number}", epoch="e", tenant=tenant, key=f"k-{tenant}", team="", model="m", version="v1",
                task="chat", outcome="finished", status=200, arrived_us=1, first_us=5,
                ended_us=NIGHT + 14 * HOUR_US + hour * HOUR_US + 77 + number, input_tokens=31 + number, output_tokens=7 * hour,
                price=agreed.id, charge_nanousd=charge_nanousd(agreed, used),
            )  # fmt: skip
            found.store.usage_add([row], {})
            found.store.book("local", row.ended_us, costs(row), [(row, 900 + number)])
    return found


def costs(row: Usage) -> list[entries.Entry]:
    """Some of the device's time for the request, and some for nobody."""
    hour_us = entries.hour_of(row.ended_us)
    parts = [
        Part(cause="request", subject=row.request, lease="r/1", model="m@v1", nanousd=900 + int(row.request[4:])),
        Part(cause="idle", subject="r/1", lease="r/1", model="m@v1", nanousd=11),
        Part(cause="free", subject="d", lease="", model="", nanousd=4_000),
    ]
    return [
        entries.cost(part, pool="local", device=row.request, from_us=hour_us, to_us=row.ended_us, hour_us=hour_us,
                     tenant=row.tenant if part.cause == "request" else "")
        for part in parts
    ]  # fmt: skip


def rows(answer: Any) -> list[dict[str, str]]:
    assert answer.status_code == 200
    return list(csv.DictReader(io.StringIO(answer.text)))


def nano(found: list[dict[str, str]], column: str) -> Decimal:
    return sum((Decimal(row[column]) for row in found), Decimal()) * 10**9


@pytest.mark.parametrize(
    ("bounds", "from_us", "to_us"),
    [
        ("", 0, NIGHT + 43 * HOUR_US),  # the hour in which the last booking ended is not over
        ("&from=1970-01-12&to=1970-01-15", NIGHT, NIGHT + 3 * DAY_US),
        (f"&from={NIGHT + 15 * HOUR_US}&to={NIGHT + DAY_US}", NIGHT + 15 * HOUR_US, NIGHT + DAY_US),
    ],
)
def test_a_focus_export_adds_up_to_the_ledger(door, bounds, from_us, to_us):
    """Charges, device costs and overheads of the same hours, to the nano-dollar."""
    door.store.post([entries.reversal(door.store.statements.entries("req_3")[0], NIGHT + 20 * HOUR_US, "a mistake")])
    found = rows(door.ask("GET", f"cost/export?format=focus{bounds}"))
    sums = door.store.statements.balances(from_us, to_us)
    assert nano(found, "BilledCost") == sums["due/default"] + sums["due/team"] > 0
    assert nano(found, "x_DeviceCost") == -sums["owed/local"] > 0
    for cause, account in (("idle", "idle/m@v1"), ("free", "free/local")):
        mine = [row for row in found if row["x_Cause"] == cause]
        assert nano(mine, "EffectiveCost") == sums[account] > 0
        assert nano(mine, "BilledCost") == 0
    assert {row["x_Kind"] for row in found} == {"usage", "rounding", "overhead", "correction"}
    assert {row["x_PriceBasis"] for row in found} == {"", "list"}
    assert {row["SkuPriceId"] for row in found if row["SubAccountId"] == "team"} >= {"own/input_tokens"}


def test_hours_exported_one_by_one_are_the_day(door):
    """Any cut into whole hours gives the same rows."""
    at = "cost/export?format=focus"
    whole = rows(door.ask("GET", f"{at}&from={NIGHT}&to={NIGHT + DAY_US}"))
    parts = []
    for hour_us in range(NIGHT, NIGHT + DAY_US, HOUR_US):
        parts += rows(door.ask("GET", f"{at}&from={hour_us}&to={hour_us + HOUR_US}"))
    assert parts == whole != []


def test_the_csv_is_the_roll_up_and_its_sums_are_right(door):
    """A request's charge is counted once, whatever units it used."""
    found = rows(door.ask("GET", "cost/export?format=csv&from=1970-01-12&to=1970-01-15"))
    sums = door.store.statements.balances(NIGHT, NIGHT + 3 * DAY_US)
    assert sum(int(row["charge_nanousd"]) for row in found) == sums["due/default"] + sums["due/team"]
    assert sum(int(row["cost_nanousd"]) for row in found) == sums["used/default/m@v1"] + sums["used/team/m@v1"]
    assert sum(int(row["amount"]) for row in found if row["unit"] == "requests") == 60
    assert found[0]["hour"] == "1970-01-12T14:00:00Z"


def events(answer: Any) -> list[dict[str, Any]]:
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    return [text_json.loads(line) for line in answer.text.splitlines()]


def test_charge_events_come_in_order_once_each_and_go_on_after_the_cursor(door):
    """Pages of any size give the same events; ids are the entries' own, and never change."""
    every = events(door.ask("GET", "cost/export?format=cloudevents"))
    assert len(every) == len({one["id"] for one in every}) == 60
    first = every[0]
    assert {key: first[key] for key in ("specversion", "source", "type", "subject")} == {
        "specversion": "1.0", "source": "/headrace/v1/ledger", "type": "headrace.charge", "subject": "default",
    }  # fmt: skip
    assert first["id"] == entries.entry_id("charge", "req_0").hex()
    assert (first["data"]["units"], first["data"]["key"]) == ({"input_tokens": 31, "requests": 1}, "k-default")
    assert sum(one["data"]["nanousd"] for one in every) == sum(
        row["charge_nanousd"] for row in door.store.statements.spend((), 0, 1 << 60)
    )
    paged, after = [], "0"
    while page := events(door.ask("GET", f"cost/export?format=cloudevents&limit=7&after={after}")):
        paged += page
        after = page[-1]["sequence"]
    assert paged == every
    day = events(door.ask("GET", "cost/export?format=cloudevents&from=1970-01-13"))
    assert [one for one in every if one["data"]["hour_us"] >= NIGHT + DAY_US] == day


def test_a_reversal_is_an_event_that_takes_away(door):
    """Of its own id, and negative."""
    charge = door.store.statements.entries("req_3")[0]
    door.store.post([entries.reversal(charge, NIGHT + 20 * HOUR_US, "a mistake")])
    last = events(door.ask("GET", "cost/export?format=cloudevents"))[-1]
    assert (last["type"], last["data"]["nanousd"]) == ("headrace.reversal", -charge.nanousd)
    assert (last["subject"], last["data"]["note"]) == ("team", "a mistake")


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("format=parquet", "give one of: focus, csv, cloudevents"),
        ("from=yesterday", "give a day as YYYY-MM-DD"),
        ("from=2026-02-30", "give a day as YYYY-MM-DD"),
        ("to=20260230", "not a whole hour"),
        (f"to={HOUR_US + 1}", f"the nearest are {HOUR_US} and {2 * HOUR_US}"),
        ("from=1970-01-13&to=1970-01-12", "after to"),
        ("from=1970-01-12&to=2020-01-12", "more than 366 days"),
        ("format=cloudevents&limit=50001", "from 0 to 50000"),
    ],
)
def test_what_cannot_be_asked_is_said(door, query, words):
    """With the value and what to give instead."""
    answer = door.ask("GET", f"cost/export?{query}")
    assert error(answer)[0] == 400
    assert words in answer.json()["error"]["message"]


def hour_of(text: str) -> int:
    return int(datetime.datetime.fromisoformat(text).timestamp()) * 1_000_000


def test_too_many_rows_are_refused_before_the_first(door, monkeypatch):
    """With the hour up to which there are not too many."""
    monkeypatch.setattr("headrace.control.admin.exports.ROWS_MAX", 20)
    for form, end in (("focus", "1970-01-12T15:00:00Z"), ("csv", "1970-01-12T17:00:00Z")):
        answer = door.ask("GET", f"cost/export?format={form}&from=1970-01-12&to=1970-01-15")
        assert error(answer)[0] == 400
        message = answer.json()["error"]["message"]
        assert f"end at {end}: ask up to there" in message
        assert door.ask("GET", f"cost/export?format={form}&from=1970-01-12&to={hour_of(end)}").status_code == 200
