"""Overheads are moved by further entries: exactly, in proportion, within the cap, and the first view stays."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from headrace.economics.entries import balances
from headrace.economics.overhead import LOAD_CAP_NANOUSD, POLICY, move_in_proportion, move_load

used = st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.integers(0, 10**12), max_size=8)


@given(st.integers(0, 10**15), used)
def test_an_hour_is_moved_whole_and_in_proportion(nanousd, by):
    """To the nano-dollar, each within one of the exact share; whoever used nothing bears nothing."""
    moves = move_in_proportion("idle", "m@v1", nanousd, by, at_us=9, hour_us=0)
    total = sum(by.values())
    if not total:
        assert moves == []
        return
    assert sum(move.nanousd for move in moves) == nanousd
    borne = {move.debit.split("/")[1]: move.nanousd for move in moves}
    for tenant, amount in by.items():
        assert abs(borne.get(tenant, 0) - Fraction(nanousd * amount, total)) < 1
        assert amount or tenant not in borne


@given(st.integers(1, 10**12), used)
def test_what_was_booked_first_stays_to_be_seen(nanousd, by):
    """Moves touch no account of the first view: only who bears it, and the other side by cause."""
    moves = move_in_proportion("drain", "m@v1", nanousd, by, at_us=9, hour_us=0)
    sums = balances(moves)
    assert sum(sums.values()) == 0
    assert {account.split("/")[0] for account in sums} <= {"borne", "moved"}
    assert all(move.kind == "move" and POLICY in move.note for move in moves)
    again = move_in_proportion("drain", "m@v1", nanousd, by, at_us=77, hour_us=0)
    assert [move.id for move in again] == [move.id for move in moves], "moved again it is the same move"


@given(st.lists(st.integers(0, 2 * LOAD_CAP_NANOUSD), max_size=6))
def test_a_cold_start_is_borne_up_to_one_cap(pieces):
    """In however many pieces it is booked; the rest stays with the operator."""
    borne = 0
    for number, piece in enumerate(pieces):
        move = move_load("m@v1", f"r/1 {number}", piece, "t", "q", number, 0, borne=borne)
        assert 0 <= move.nanousd <= piece
        borne += move.nanousd
    assert borne == min(sum(pieces), LOAD_CAP_NANOUSD)
