"""The books, measured: postings, audit, cost pages, conservation. One JSON line a figure.

    .venv/bin/python bench/books.py [--entries 1000000] [--requests 1000000]

What is generated says so; nothing here starts a cloud. Wall times of one process on whatever machine this is.
"""

import argparse
import json
import random
import tempfile
import time
from pathlib import Path

import apsw

from headrace.economics import booking
from headrace.economics.booking import Tenure
from headrace.economics.entries import HOUR_US, Entry, entry_id
from headrace.economics.metering import quantities
from headrace.economics.prices import charge_nanousd
from headrace.economics.sharing import Member
from headrace.economics.work import WorkModel
from headrace.gateway.purse import Wallet
from headrace.state.table import Grant, Grants, Price
from headrace.state.usage import Usage
from headrace.stores.audit import audit
from headrace.stores.sqlite import SqliteStore

START_US = 1_790_000_000_000_000
PRICE = Price(id="p", model="m@v1", units={"input_tokens": 20_000, "output_tokens": 80_000})


def told(figure: str, **values: object) -> None:
    print(json.dumps({"figure": figure, **values}), flush=True)


def entries(count: int, rng: random.Random) -> list[Entry]:
    """Costs of requests and overheads over 30 days, 50 tenants, 20 models."""
    made = []
    for number in range(count):
        at_us = START_US + number * 2_592_000
        tenant, model = f"t{rng.randrange(50)}", f"m{rng.randrange(20)}@v1"
        made.append(
            Entry(
                id=entry_id("bench", number), at_us=at_us, hour_us=at_us - at_us % HOUR_US, book="cost", kind="request",
                debit=f"used/{tenant}/{model}", credit="owed/local", nanousd=rng.randrange(1, 10**6),
                subject=f"req_{number:024x}", note="r1/abc own 12 time 34",
            )
        )  # fmt: skip
    return made


def postings(store: SqliteStore, count: int) -> None:
    rng = random.Random(1)
    made = entries(count, rng)
    began = time.perf_counter()
    for at in range(0, count, 2_000):
        store.post(made[at : at + 2_000])
    seconds = time.perf_counter() - began
    told("postings a minute, one core", value=round(count / seconds * 60), entries=count, goal=1_000_000)


def audits(path: Path) -> None:
    began = time.perf_counter()
    found = audit(path)
    seconds = time.perf_counter() - began
    # The generated entries have no usage records behind them, so the sums of costs of requests are not asked here.
    broken = [line for line in found.found if "chain" in line or "balances" in line]
    told("audit of the ledger, seconds", value=round(seconds, 1), entries=found.entries, broken=broken, goal=60)
    db = apsw.Connection(str(path))
    db.execute("DROP TRIGGER entry_stays")
    victim = found.entries * 2 // 3
    db.execute("UPDATE entry SET nanousd = nanousd + 1 WHERE seq = ?", (victim,))
    db.close()
    again = audit(path)
    told("one changed amount is found", value=any(f"entry {victim}" in line for line in again.found), entry=victim)


def pages(folder: Path) -> None:
    """10 M requests, as the roll-ups they leave: 200 tenants x 5 keys x 4 models x 720 hours, 3 to 4 requests each."""
    store = SqliteStore(folder / "pages.db")
    db = store._db
    requests = 0
    with db:
        for hour in range(720):
            rows = []
            for number in range(200 * 5 * 4):
                tenant, rest = divmod(number, 20)
                key, model = divmod(rest, 4)
                count = 3 + (number + hour) % 2
                requests += count
                place = (START_US - START_US % HOUR_US + hour * HOUR_US, f"t{tenant}", "", f"k{key}", f"m{model}")
                rows.append((*place, "v1", "chat", "", count, 5_000 * count, 3_000 * count))
            db.executemany("INSERT INTO spend VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
        db.execute(
            "INSERT INTO spend_day SELECT hour_us - hour_us % 86400000000, tenant, team, key, model, version, task, "
            "unit, sum(amount), sum(charge_nanousd), sum(cost_nanousd) FROM spend GROUP BY 1, 2, 3, 4, 5, 6, 7, 8"
        )
    first = START_US - START_US % HOUR_US
    for name, by, hours in [
        ("by tenant and model, a week", ("tenant", "model"), 168),
        ("by tenant, a month", ("tenant",), 720),
        ("by hour, a month", ("hour_us",), 720),
    ]:
        began = time.perf_counter()
        found = store.statements.spend(by, first + (720 - hours) * HOUR_US, first + 720 * HOUR_US)
        seconds = time.perf_counter() - began
        told(f"cost page {name}, seconds", value=round(seconds, 3), rows=len(found), requests=requests, goal=1)
    store.close()


def conservation(count: int) -> None:
    """Requests that overlap on 40 leases of 8 devices, cold starts, idleness, failures: the parts and the whole."""
    rng = random.Random(2)
    model = WorkModel(prefill_ns=300_000, decode_ns=2_000_000)
    residual = posted = 0
    charged = {"streamed": 0, "buffered": 0}
    began = time.perf_counter()
    for lease in range(40):
        members, at_us = [], 2_000_000
        for number in range(count // 40):
            at_us += rng.randrange(1_000, 60_000)
            end_us = at_us + rng.randrange(5_000, 400_000)
            members.append(
                Member(
                    request=f"r{lease}-{number}", start_us=at_us, first_us=at_us + 2_000, end_us=end_us,
                    prefill_tokens=rng.randrange(900), decode_tokens=rng.randrange(1, 200), failed=rng.random() < 0.01,
                )
            )  # fmt: skip
        end_us = max(member.end_us for member in members) + 5_000_000
        tenure = Tenure(
            name=f"l{lease}", model="m@v1", share_ppm=rng.randrange(100_000, 1_000_000), start_us=0, ready_us=2_000_000,
            end_us=end_us, members=tuple(members),
        )  # fmt: skip
        rate = rng.randrange(10**7, 10**10)
        parts = booking.book(rate, 0, end_us, [tenure], {"m@v1": model}, "d")
        residual += abs(booking.residual(parts, rate, 0, end_us)) + abs(sum(p.time_us for p in parts) - end_us)
        posted += len(parts)
        for member in members[:1000]:
            for way, stream in (("streamed", True), ("buffered", False)):
                row = Usage(
                    request=member.request, epoch="e", tenant="t", key="k", model="m", task="chat", outcome="finished",
                    status=200, arrived_us=0, ended_us=1, stream=stream, input_tokens=member.prefill_tokens,
                    output_tokens=member.decode_tokens, first_us=1,
                )  # fmt: skip
                charged[way] += charge_nanousd(PRICE, quantities(row))
    seconds = time.perf_counter() - began
    told("conservation residual, nano-dollars and microseconds", value=residual, requests=count, parts=posted, goal=0)
    told("streamed and buffered charges are the same", value=charged["streamed"] == charged["buffered"])
    told("requests booked a second", value=round(count / seconds))


def holds() -> None:
    """What a budget adds to a request while its gateway's slice lasts: a hold and its settlement."""
    wallet = Wallet("e", lambda _: True)
    budgets = ("tenant:t|month|2026-11", "key:k|day|2026-11-24")
    wallet.granted(Grants(grants={name: Grant(granted=10**15) for name in budgets}))
    took = []
    for _ in range(100_000):
        began = time.perf_counter_ns()
        wallet.hold(budgets, 1_000)
        wallet.settle(budgets, 1_000, 700)
        took.append(time.perf_counter_ns() - began)
    took.sort()
    told("hold and settle in two budgets, us", p50=took[50_000] / 1000, p99=took[99_000] / 1000, goal=[1000, 5000])


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--entries", type=int, default=1_000_000)
    words.add_argument("--requests", type=int, default=1_000_000)
    given = words.parse_args()
    with tempfile.TemporaryDirectory() as name:
        store = SqliteStore(Path(name) / "books.db")
        postings(store, given.entries)
        store.close()
        audits(Path(name) / "books.db")
        pages(Path(name))
    conservation(given.requests)
    holds()


if __name__ == "__main__":
    main()
