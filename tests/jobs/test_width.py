"""The width of a batch against engines of known make: it finds what each is good for, and gives way."""

from collections.abc import Callable

import pytest

from headrace.jobs.width import ASKED_US, PAUSE_US, START, WIDTH_MAX, Width

MS, S = 1_000, 1_000_000


def settled(
    rate: Callable[[int], float], answers: int = 20_000, queue: Callable[[int], float] = lambda _: 0
) -> list[int]:
    """The widths of the last tenth of the answers; `rate(width)` is lines a second, `queue(width)` a share of the time."""
    width, now_us, seen = Width(), 1, []
    for _ in range(answers):
        took_us = int(width.now / rate(width.now) * S)
        now_us += took_us // width.now
        width.answered(now_us, int(took_us * queue(width.now)), took_us)
        seen.append(width.now)
    return seen[-answers // 10 :]


@pytest.mark.parametrize(
    ("name", "rate", "least", "most"),
    [
        ("one at a time: more at once only wait", lambda w: 100.0, 1, 2),
        ("two cores", lambda w: 50.0 * min(w, 2), 1, 3),
        ("continuous batching up to 24", lambda w: 10.0 * min(w, 24), 14, 32),
        ("gains that fade, best at 16", lambda w: 10.0 * w / (1 + w / 16), 10, 24),
        ("as wide as you like", lambda w: 10.0 * w, 42, WIDTH_MAX),
    ],
)  # fmt: skip
def test_it_settles_where_an_engine_is_well_used(name: str, rate: Callable[[int], float], least: int, most: int):
    seen = settled(rate)
    assert least <= min(seen), name
    assert max(seen) <= most, name


def test_lines_that_wait_longer_than_they_work_make_it_narrow():
    """Slots are taken by others: what is sent then only fills a queue."""
    assert max(settled(lambda w: 10.0 * w, queue=lambda w: 0.6 if w > 6 else 0.0)) <= 8
    assert set(settled(lambda w: 10.0 * w, queue=lambda _: 0.9)) == {1}


def test_several_refusals_at_once_are_one_push_and_the_longest_wait_counts():
    width = Width()
    width.now = 16
    width.pushed_back(1_000 * MS, 2_000 * MS)
    width.pushed_back(1_001 * MS, 3_000 * MS)
    assert (width.now, width.resume_us) == (8, 4_001 * MS)
    width.pushed_back(5_000 * MS, 0)
    assert (width.now, width.resume_us) == (4, 5_000 * MS + PAUSE_US)
    for _ in range(9):
        width.pushed_back(width.resume_us, 0)
    assert width.now == 1


def test_while_people_ask_it_takes_a_tenth():
    """One at a time with pauses where it is narrow, fewer at once where it is wide; the moment they stop, all of it."""
    width = Width()
    now_us = 10 * S
    assert width.room(START - 1, now_us)
    width.answered(now_us, 0, 20 * MS, urgent=2)
    assert not width.room(0, now_us + 79 * MS)
    assert width.room(0, now_us + 80 * MS)  # at work for 20 ms of 100, which is a tenth of two
    assert not width.room(1, now_us + 80 * MS)
    width.now = 40
    assert (width.room(3, now_us + 80 * MS), width.room(4, now_us + 80 * MS)) == (True, False)
    assert width.room(39, now_us + ASKED_US)


def test_it_gives_no_way_when_it_would_be_late():
    width = Width()
    width.hurried = True
    width.answered(10 * S, 0, 20 * MS, urgent=2)
    assert width.room(START - 1, 10 * S)


def test_it_begins_narrow():
    assert Width().now == START
