"""Leases are continuous and never longer than what was seen."""

from pathlib import Path

import pytest

from headrace.control import observer
from headrace.control.leases import ALIVE_EVERY_US, Leases
from headrace.control.records import Records
from headrace.ports import WorkerStatus
from headrace.stores.sqlite import SqliteStore
from tests.control.sim import MACHINE, S, SimClock, model


@pytest.fixture
def store(tmp_path: Path) -> SqliteStore:
    return SqliteStore(tmp_path / "db")


def worker(clock: SimClock, incarnation: str = "one", phase="starting", **more) -> WorkerStatus:
    fields = {"started_us": clock.now_us(), "labels": observer.labels(model(), MACHINE[0], "woken")}
    return WorkerStatus(id="m-1", phase=phase, incarnation=incarnation, **(fields | more))


def kept(store: SqliteStore, records: Records) -> list[tuple[str, int, str]]:
    records.flush()
    return [(lease.incarnation, lease.ended_us, lease.ended_by) for lease in store.lease_list()]


def test_what_ended_unseen_is_closed_when_it_was_last_seen(store):
    """The machine was off for a night: the lease ends with the last sign of life, not with the next morning."""
    clock = SimClock()
    records = Records(store, clock)
    leases = Leases(store, records, clock)
    leases.heard(worker(clock))
    records.flush()
    clock.us += ALIVE_EVERY_US
    leases.alive()
    seen_us = clock.now_us()
    clock.us += 9 * 3600 * S
    Leases(store, records, clock).adopt([])
    assert kept(store, records) == [("one", seen_us, "found gone when the controller started")]


def test_a_successor_s_start_bounds_its_predecessor_s_end(store):
    """Two incarnations of one replica never hold the device at once."""
    clock = SimClock()
    records = Records(store, clock)
    leases = Leases(store, records, clock)
    leases.heard(worker(clock))
    clock.us += 10 * S
    started_us = clock.now_us()
    clock.us += 5 * S
    leases.heard(worker(clock, "two", started_us=started_us, restarts=1))
    assert kept(store, records) == [("two", 0, ""), ("one", started_us, "starting")]


def test_news_told_twice_is_one_lease(store):
    """Ready is noted once; a failure closes it; what comes after changes nothing."""
    clock = SimClock()
    records = Records(store, clock)
    leases = Leases(store, records, clock)
    for _ in range(2):
        leases.heard(worker(clock, started_us=5))
        leases.heard(worker(clock, phase="ready", started_us=5, ready_us=9))
    for _ in range(2):
        leases.heard(worker(clock, phase="failed", started_us=5, ready_us=9, reason="exited with status 3"))
    assert kept(store, records) == [("one", clock.now_us(), "exited with status 3")]
    assert store.lease_list()[0].ready_us == 9


def test_an_idle_cloud_writes_no_sign_of_life(store):
    """Where nothing is leased nothing can be overcharged, and the disk is left alone."""
    clock = SimClock()
    leases = Leases(store, Records(store, clock), clock)
    clock.us += 10 * ALIVE_EVERY_US
    leases.alive()
    assert store.get("alive_us") is None
