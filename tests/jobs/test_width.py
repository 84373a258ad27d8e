"""The width of a batch: it climbs while nothing waits, gives way while something does, and halves when told to."""

from headrace.jobs.width import PAUSE_US, START, WIDTH_MAX, Width

MS = 1_000


def test_it_climbs_by_one_an_answer_until_the_first_wait_then_by_one_a_round():
    width = Width()
    for _ in range(6):
        width.answered(0, 10 * MS)
    assert width.now == int(START) + 6
    width.answered(30 * MS, 40 * MS)  # waited longer than it worked
    before = width.now
    for _ in range(before + 1):
        width.answered(0, 10 * MS)
    assert width.now in (before, before + 1)


def test_it_rests_between_a_short_wait_and_one_as_long_as_the_work():
    width = Width()
    width.answered(5 * MS, 15 * MS)
    assert width.now == int(START)


def test_it_stays_within_its_bounds():
    wide, narrow = Width(), Width()
    for _ in range(500):
        wide.answered(0, 10 * MS)
        narrow.answered(90 * MS, 100 * MS)
    assert (wide.now, narrow.now) == (int(WIDTH_MAX), 1)


def test_several_refusals_at_once_are_one_push_and_the_longest_wait_counts():
    width = Width()
    for _ in range(12):
        width.answered(0, 10 * MS)
    width.pushed_back(1_000 * MS, 2_000 * MS)
    width.pushed_back(1_001 * MS, 3_000 * MS)
    assert (width.now, width.resume_us) == (8, 4_001 * MS)
    width.pushed_back(5_000 * MS, 0)
    assert (width.now, width.resume_us) == (4, 5_000 * MS + PAUSE_US)
