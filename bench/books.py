"""The books, measured: postings, audit, cost pages, conservation. One JSON line a figure.

    .venv/bin/python bench/books.py [--entries 1000000] [--requests 1000000] [--page-requests 10000000]

What is generated says so; nothing here starts a cloud. Wall times of one process on whatever machine this is.
"""

import argparse
import json
import math
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
DAY_US = 24 * HOUR_US
BATCH = 2_000
PRICE = Price(id="p", model="m@v1", units={"input_tokens": 20_000, "output_tokens": 80_000})


def told(figure: str, **values: object) -> None:
    print(json.dumps({"figure": figure, **values}), flush=True)


def rows(count: int, rng: random.Random) -> list[Usage]:
    """Requests over 30 days, 50 tenants of 4 keys, 20 models; charged, each against one budget."""
    made = []
    for number in range(count):
        at_us = START_US + number * 2_592_000_000_000 // count
        tenant, tokens = f"t{rng.randrange(50)}", rng.randrange(1, 2_000)
        charge = charge_nanousd(PRICE, {"input_tokens": tokens, "output_tokens": tokens // 4})
        made.append(
            Usage(
                request=f"req_{number:024x}", epoch="e", tenant=tenant, key=f"{tenant}-k{rng.randrange(4)}",
                model=f"m{rng.randrange(20)}", version="v1", task="chat", outcome="finished", status=200,
                arrived_us=at_us, ended_us=at_us + 900_000, replica="r1", incarnation="1", first_us=90_000,
                input_tokens=tokens, output_tokens=tokens // 4, busy_us=800_000, charge_nanousd=charge, price="p",
                budgets=(f"tenant:{tenant}|month|2026-09",),
            )
        )  # fmt: skip
    return made


def cost_of(row: Usage, nanousd: int) -> Entry:
    """What a request cost, as the books post it."""
    return Entry(
        id=entry_id("bench", row.request), at_us=row.ended_us, hour_us=row.ended_us - row.ended_us % HOUR_US,
        book="cost", kind="request", debit=f"used/{row.tenant}/{row.model}@v1", credit="owed/local", nanousd=nanousd,
        subject=row.request, note="r1/abc own 12 time 34",
    )  # fmt: skip


def postings(store: SqliteStore, count: int) -> None:
    """Half of the entries are costs, posted as they are; the other half charges, which come with usage records."""
    rng = random.Random(1)
    found = rows(count // 2, rng)
    costs = [(row, rng.randrange(1, 10**6)) for row in found]
    made = [cost_of(row, nanousd) for row, nanousd in costs]
    store.terms(prices=[PRICE])
    began, cpu = time.perf_counter(), time.process_time()
    for at in range(0, len(made), BATCH):
        store.book("local/local/cpu", at + 1, made[at : at + BATCH], costs[at : at + BATCH])
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    told(
        "postings a minute, one core", value=round(len(made) / seconds * 60), entries=len(made),
        of_cpu_time=round(len(made) / cpu * 60), goal=1_000_000,
    )  # fmt: skip
    began = time.perf_counter()
    for at in range(0, len(found), BATCH):
        store.usage_add(found[at : at + BATCH], {})
    seconds = time.perf_counter() - began
    told("requests recorded, charged and rolled up a minute", value=round(len(found) / seconds * 60), rows=len(found))


def audits(path: Path) -> None:
    began = time.perf_counter()
    found = audit(path)
    seconds = time.perf_counter() - began
    told("audit, seconds", value=round(seconds, 1), entries=found.entries, ok=found.ok, found=found.found, goal=60)
    db = apsw.Connection(str(path))
    db.execute("DROP TRIGGER entry_stays")
    victim = found.entries * 2 // 3
    (note,) = next(db.execute("SELECT CAST(note AS BLOB) FROM entry WHERE seq = ?", (victim,)))
    flipped = bytes([note[0] ^ 0x80]) + note[1:]
    db.execute("UPDATE entry SET note = CAST(? AS TEXT) WHERE seq = ?", (flipped, victim))
    db.close()
    again = audit(path)
    told("one flipped byte is found", value=any(f"entry {victim}," in line for line in again.found), entry=victim)


def pages(folder: Path, wanted: int) -> None:
    """The roll-ups that `wanted` requests leave in 30 days, every unit of them, written in bulk.

    200 tenants of 50 keys, each key using one of 20 models; how busy keys are follows Zipf's law (the r-th as busy as
    the first over r), and each hour of a key has as many requests as its Poisson draw says. An hour of a key without a
    request leaves no row, one with requests leaves five: the whole, tokens in and out, requests, time.
    """
    store, rng = SqliteStore(folder / "pages.db"), random.Random(3)
    db, first, keys, requests, hourly = store._db, START_US - START_US % DAY_US, 10_000, 0, 0
    mean = wanted / 720 / sum(1 / rank for rank in range(1, keys + 1))
    places = [(f"t{n % 200:03}", "", f"k{n:05}", f"m{n * 7 % 20}", "v1", "chat", mean / (n + 1)) for n in range(keys)]
    places.sort()
    put = "INSERT INTO {} VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    for day in range(30):
        sums: dict[tuple[str, ...], list[int]] = {}
        with db:
            for hour in range(24):
                made = []
                hour_us = first + (day * 24 + hour) * HOUR_US
                for *place, busy in places:
                    count = poisson(busy, rng)
                    if not count:
                        continue
                    requests += count
                    whole = sums.setdefault(tuple(place), [0])
                    whole[0] += count
                    made += [(hour_us, *place, *unit) for unit in of(count)]
                hourly += len(made)
                db.executemany(put.format("spend"), made)
            day_us = first + day * DAY_US
            daily = [(day_us, *place, *unit) for place, (count,) in sums.items() for unit in of(count)]
            db.executemany(put.format("spend_day"), daily)
    db.execute(
        "INSERT INTO spend_model SELECT day_us, model, version, task, unit, sum(amount), sum(charge_nanousd), "
        "sum(cost_nanousd) FROM spend_day GROUP BY unit, day_us, model, version, task"
    )
    end_us = first + 720 * HOUR_US
    for name, by, hours, tenant in [
        ("by tenant and model, a week", ("tenant", "model"), 168, None),
        ("by tenant, a month", ("tenant",), 720, None),
        ("by key of one tenant, a month", ("key",), 720, "t007"),
        ("by model and unit, a month", ("model", "unit"), 720, None),
        ("by hour, a week", ("hour_us",), 168, None),
        ("by hour, a month", ("hour_us",), 720, None),
    ]:
        times = []
        for _ in range(3):
            began = time.perf_counter()
            found = store.statements.spend(by, end_us - hours * HOUR_US, end_us, tenant)
            times.append(time.perf_counter() - began)
        told(
            f"cost page {name}, seconds", value=round(sorted(times)[1], 3), first=round(times[0], 3), rows=len(found),
            requests=requests, hourly_rows=hourly, goal=1,
        )  # fmt: skip
    store.close()


def of(count: int) -> list[tuple[str, int, int, int]]:
    """The rows of an hour or a day in which a key made so many requests: unit, amount, charge, cost."""
    return [
        ("", count, 9_000 * count, 5_000 * count), ("busy_us", 800_000 * count, 0, 0),
        ("input_tokens", 250 * count, 5_000 * count, 0), ("output_tokens", 50 * count, 4_000 * count, 0),
        ("requests", count, 0, 0),
    ]  # fmt: skip


def poisson(mean: float, rng: random.Random) -> int:
    """Knuth's method where it is cheap, the normal approximation where it is not."""
    if mean > 30:
        return max(0, round(rng.gauss(mean, mean**0.5)))
    count, product, least = 0, rng.random(), math.exp(-mean)
    while product > least:
        count += 1
        product *= rng.random()
    return count


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
    words.add_argument("--page-requests", type=int, default=10_000_000)
    given = words.parse_args()
    with tempfile.TemporaryDirectory() as name:
        store = SqliteStore(Path(name) / "books.db")
        postings(store, given.entries)
        store.close()
        audits(Path(name) / "books.db")
        pages(Path(name), given.page_requests)
    conservation(given.requests)
    holds()


if __name__ == "__main__":
    main()
