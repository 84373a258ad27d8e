"""The most of a window, beside a look at all of it."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.policy.most import Most


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 20), st.integers(0, 5)), min_size=1, max_size=60))
def test_it_is_the_most_of_what_was_seen_in_the_window(steps: list[tuple[int, int, int]]) -> None:
    """Windows never shrink here: what one of them leaves out is forgotten."""
    made, seen, now_us, window_us = Most(), list[tuple[int, float]](), 0, 0
    for passed_us, figure, wider_us in steps:
        now_us, window_us = now_us + passed_us, window_us + (wider_us if not seen else 0)
        seen.append((now_us, float(figure)))
        most = made.take(figure, now_us, window_us)
        assert most == made.most == max(one for at_us, one in seen if at_us >= now_us - window_us)


def test_a_part_saw_its_share() -> None:
    made = Most()
    made.take(4.0, 0, 100)
    made.take(2.0, 10, 100)
    part = made.part(0.25)
    assert (part.most, part.take(0.1, 105, 100)) == (1.0, 0.5)
