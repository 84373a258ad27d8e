"""What every Store promises. A further adapter adds one line to `STORES`."""

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.ports import KeyRecord, Store
from headrace.state.decision import Decision
from headrace.state.fleet import Lease
from headrace.stores.sqlite import SqliteStore
from tests.stores.entries import usage

STORES: dict[str, Callable[[Path], Store]] = {"sqlite": lambda folder: SqliteStore(folder / "headrace.db")}


@pytest.fixture(params=sorted(STORES))
def make(request: pytest.FixtureRequest) -> Callable[[Path], Store]:
    return STORES[request.param]


@pytest.fixture
def store(make: Callable[[Path], Store], tmp_path: Path) -> Iterator[Store]:
    made = make(tmp_path)
    yield made
    made.close()


def lease(replica: str, incarnation: str, started_us: int, ended_us: int = 0) -> Lease:
    return Lease(
        replica=replica, incarnation=incarnation, model="m", version="v1", pool="p", node="n", device="cpu",
        memory_bytes=1, share_ppm=2, started_us=started_us, ended_us=ended_us,
    )  # fmt: skip


def test_a_record_read_twice_is_one_record(store):
    """The request is the key; what is there stays as it was first written, and is counted once."""
    first = usage("one", output_tokens=5)
    assert store.usage_add([first], {"a.log": 10}) == 1
    assert store.usage_add([usage("one", output_tokens=9), usage("two")], {"a.log": 20}) == 1
    assert store.usage_get("one") == first
    assert sum(total["requests"] for total in store.usage_totals()) == 2
    assert store.marks() == {"a.log": 20}


def test_records_and_positions_outlive_the_process(make, tmp_path):
    """Everything is there after the file is opened anew."""
    first = make(tmp_path)
    first.usage_add([usage("one")], {"a.log": 10})
    first.put("catalog", b"\x00\xff")
    first.close()
    second = make(tmp_path)
    assert (second.usage_get("one"), second.marks(), second.get("catalog")) == (
        usage("one"),
        {"a.log": 10},
        b"\x00\xff",
    )
    second.mark_drop("a.log")
    assert second.marks() == {}
    second.close()


def test_usage_is_listed_newest_first_and_narrowed(store):
    """By tenant, by model, by both, before a moment."""
    rows = [usage(f"r{n}", ended_us=n, tenant="ab"[n % 2], model="xyz"[n % 3]) for n in range(12)]
    store.usage_add(rows, {})

    def listed(**more):
        return [row.ended_us for row in store.usage_list(**{"limit": 100, **more})]

    assert listed() == list(range(11, -1, -1))
    assert listed(limit=2) == [11, 10]
    assert listed(tenant="a", limit=3) == [10, 8, 6]
    assert listed(model="x") == [9, 6, 3, 0]
    assert listed(tenant="b", model="x", before_us=9) == [3]
    assert listed(before_us=2) == [1, 0]
    assert listed(tenant="nobody") == []
    newest = store.usage_get("last")
    assert newest is not None
    assert newest.ended_us == 11


def test_usage_is_found_by_what_its_label_begins_with(store):
    """By tenant, since a moment, oldest first; a label within another is none."""
    labels = ("run_1/a", "run_1/b", "run_12/a", "x/run_1/a", 'say "hi"/1')
    store.usage_add([usage(f"r{n}", ended_us=n, tenant="ab"[n % 2], label=one) for n, one in enumerate(labels)], {})

    def found(label, **more):
        return [row.label for row in store.usage_labelled(label, **{"since_us": 0, "limit": 100, **more})]

    assert found("run_1/") == ["run_1/a", "run_1/b"]
    assert found("run_1/", since_us=1) == ["run_1/b"]
    assert found("run_1/", tenant="a") == ["run_1/a"]
    assert found('say "hi"/') == ['say "hi"/1']
    assert found("run_3/") == []


def test_an_empty_store_has_nothing(store):
    """No error, just none."""
    assert (store.usage_get("last"), store.usage_get("one"), store.get("catalog")) == (None, None, None)
    assert (store.usage_list(limit=5), store.usage_totals(), store.keys(), store.marks()) == ([], [], [], {})
    assert (store.lease_list(), store.decisions(limit=5)) == ([], [])


rows = st.builds(
    usage,
    st.sampled_from([f"r{n}" for n in range(12)]),
    tenant=st.sampled_from("ab"),
    model=st.sampled_from("xy"),
    outcome=st.sampled_from(["finished", "failed"]),
    input_tokens=st.integers(0, 1 << 40),
    output_tokens=st.integers(0, 1 << 40),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(rows, max_size=6), max_size=4))
def test_totals_are_the_sums_of_the_rows(make, tmp_path_factory, groups):
    """Whatever comes, in whatever groups, however often."""
    store = make(tmp_path_factory.mktemp("totals"))
    kept: dict[str, object] = {}
    for group in groups:
        new = store.usage_add(group, {})
        before = len(kept)
        for row in group:
            kept.setdefault(row.request, row)
        assert new == len(kept) - before
    sums: dict[tuple[str, str, str], list[int]] = {}
    for row in kept.values():
        place = sums.setdefault((row.tenant, row.model, row.outcome), [0, 0, 0, 0])
        for at, amount in enumerate((1, row.input_tokens, row.cached_tokens, row.output_tokens)):
            place[at] += amount
    names = ("requests", "input_tokens", "cached_tokens", "output_tokens")
    found = {(t["tenant"], t["model"], t["outcome"]): [t[name] for name in names] for t in store.usage_totals()}
    assert found == sums
    store.close()


def test_a_lease_is_one_row_an_incarnation(store):
    """Put again it is replaced; open ones are found by themselves."""
    store.lease_put(lease("r", "i1", 1))
    store.lease_put(lease("r", "i1", 1, ended_us=5))
    store.lease_put(lease("r", "i2", 6))
    assert store.lease_list() == [lease("r", "i2", 6), lease("r", "i1", 1, ended_us=5)]
    assert store.lease_list(open_only=True) == [lease("r", "i2", 6)]
    assert store.lease_list(limit=1) == [lease("r", "i2", 6)]


def test_decisions_have_a_number_and_an_order(store):
    """Newest first without `after`; following ones in order with it."""
    made = [Decision(at_us=n, kind="k", subject="ab"[n % 2], reason=f"{n}", detail={"n": n}) for n in range(6)]
    numbers = [store.decide(decision) for decision in made]
    assert numbers == sorted(set(numbers))
    assert [d.reason for d in store.decisions(limit=3)] == ["5", "4", "3"]
    assert [d.reason for d in store.decisions(limit=10, subject="a")] == ["4", "2", "0"]
    assert [d.reason for d in store.decisions(limit=2, after=numbers[1])] == ["2", "3"]
    assert [d.reason for d in store.decisions(limit=9, after=numbers[1], subject="b")] == ["3", "5"]
    assert store.decisions(limit=1)[0] == msgspec.structs.replace(made[5], seq=numbers[5])


def test_keys_are_kept_oldest_first_revoked_ones_too(store):
    """A key put again is the same key."""
    old = KeyRecord(id="b", digest="d", tenant="t", role="user", created_us=1)
    new = KeyRecord(id="a", digest="d", tenant="t", role="admin", created_us=2, models=("m",), concurrency=3)
    store.key_put(new)
    store.key_put(old)
    revoked = msgspec.structs.replace(old, revoked_us=9)
    store.key_put(revoked)
    assert store.keys() == [revoked, new]


def test_a_named_value_is_replaced(store):
    """The last one holds."""
    store.put("catalog", b"1")
    store.put("catalog", b"2")
    assert store.get("catalog") == b"2"
