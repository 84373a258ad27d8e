"""What keep-alive learned outlives the controller that learned it."""

from pathlib import Path

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from headrace.control.habits import Habits
from headrace.policy.keepalive import Keepalive
from headrace.state.gaps import BINS, Gaps
from headrace.stores.sqlite import SqliteStore

S = 1_000_000


def learned(*gaps_s: float) -> Gaps:
    gaps = Gaps()
    for gap_s in gaps_s:
        gaps = gaps.seen(round(gap_s * S))
    return gaps


def test_a_successor_knows_what_its_predecessor_learned(tmp_path: Path) -> None:
    store, before, after = SqliteStore(tmp_path / "db"), Keepalive(), Keepalive()
    before.gaps = {"m@v1": learned(*[600] * 20), "gone@v1": learned(5)}
    Habits(store, before).keep(["m@v1", "new@v1"])
    Habits(store, after).recall()
    assert list(after.gaps) == ["m@v1"]  # what is in no catalog is forgotten
    assert abs(after.gaps["m@v1"].count - before.gaps["m@v1"].count) < 0.01


def test_the_same_is_not_written_twice_and_nothing_at_all_not_once(tmp_path: Path) -> None:
    store, keepalive = SqliteStore(tmp_path / "db"), Keepalive()
    habits = Habits(store, keepalive)
    habits.keep(["m@v1"])
    assert store.get("gaps") is None
    keepalive.gaps["m@v1"] = learned(60)
    habits.keep(["m@v1"])
    store.put("gaps", b"mark")
    habits.keep(["m@v1"])
    assert store.get("gaps") == b"mark"


def test_what_cannot_be_read_is_learned_anew(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "db")
    for bad in (b"nonsense", b'{"m@v1":{"900":1}}', b'{"m@v1":{"1":-1}}', b'{"m@v1":{"1":1e99}}'):
        store.put("gaps", bad)
        keepalive = Keepalive()
        Habits(store, keepalive).recall()
        assert keepalive.gaps == {}


@given(st.lists(st.floats(0.5, 100_000), max_size=300))
def test_what_is_written_is_small_and_says_the_same(gaps_s: list[float]) -> None:
    """At most a bin's few bytes for each bin, whatever was seen."""
    gaps = learned(*gaps_s)
    told = msgspec.json.encode(gaps.bins())
    assert len(told) < 16 * BINS
    again = Gaps.of(msgspec.json.decode(told, type=dict[int, float]))
    assert all(abs(one - other) <= 0.001 for one, other in zip(gaps.weights, again.weights, strict=True))
