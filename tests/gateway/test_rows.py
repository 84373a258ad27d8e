"""Rows that workers tell each other: each writes its own, all read all, and a killed one leaves what it had served."""

from pathlib import Path

from headrace.gateway.rows import SLOTS, SharedRows
from headrace.policy.sharing import Row


def row(at_work: int, served: int = 0) -> Row:
    return at_work, served, -5, 7, 1 << 60, 9, 4


def test_each_reads_what_the_others_told(tmp_path: Path) -> None:
    one, two, three = (SharedRows(tmp_path / "rows", 3, index) for index in range(3))
    one.put("m@v1 t", row(1, 10))
    two.put("m@v1 t", row(2, 20))
    assert one.others("m@v1 t") == [row(2, 20)]
    assert sorted(three.others("m@v1 t")) == [row(1, 10), row(2, 20)]
    assert three.others("m@v1 u") == []
    one.put("m@v1 t", row(0, 11))
    assert one.own("m@v1 t") == row(0, 11)
    assert one.own("m@v1 u") is None


def test_a_successor_has_nothing_at_work_and_goes_on_counting(tmp_path: Path) -> None:
    one, two = (SharedRows(tmp_path / "rows", 2, index) for index in range(2))
    one.put("t", row(3, 10))
    two.put("t", row(4, 20))
    again = SharedRows(tmp_path / "rows", 2, 0)
    assert again.own("t") == row(0, 10)
    assert two.others("t") == [row(0, 10)]
    assert again.others("t") == [row(4, 20)]


def test_more_names_than_places_forget_those_without_work_first(tmp_path: Path) -> None:
    one, two = (SharedRows(tmp_path / "rows", 2, index) for index in range(2))
    for number in range(64):
        one.put(f"busy {number}", row(1, number))
    for number in range(3 * SLOTS):
        one.put(f"idle {number}", row(0, number))
    assert [two.others(f"busy {number}") for number in range(64)] == [[row(1, number)] for number in range(64)]
    assert two.others(f"idle {3 * SLOTS - 1}") == [row(0, 3 * SLOTS - 1)]
    one.put("idle 0", row(1, 5))
    assert two.others("idle 0") == [row(1, 5)]
