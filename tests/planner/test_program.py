"""Programs: what the solver finds is checked by arithmetic of our own, and it says nothing on stdout."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.planner.program import Program

small = st.integers(-4, 4)


def knapsack(values: list[int], weights: list[int], room: int) -> Program:
    """Which things to take, for the most value."""
    program = Program()
    first = program.columns(len(values), cost=[-value for value in values], high=1.0, whole=True)
    program.rows(1, [(np.zeros(len(values), int), first + np.arange(len(values)), weights)], high=room)
    return program


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 5)), min_size=1, max_size=6), st.integers(0, 15))
def test_whole_columns_are_solved_to_the_best(things: list[tuple[int, int]], room: int):
    """Every choice tried out."""
    values, weights = [value for value, _ in things], [weight for _, weight in things]
    found = knapsack(values, weights, room).solved(gap=0.0)
    taken = itertools.product((0, 1), repeat=len(things))
    best = max(
        sum(a * b for a, b in zip(one, values, strict=True))
        for one in taken
        if sum(a * b for a, b in zip(one, weights, strict=True)) <= room
    )
    assert found.objective == pytest.approx(-best)
    assert found.bound <= found.objective + 1e-6


@settings(max_examples=60)
@given(
    st.lists(st.lists(small, min_size=3, max_size=3), min_size=1, max_size=4),
    st.lists(small, min_size=3, max_size=3),
    st.lists(small, min_size=4, max_size=4),
)
def test_a_bound_is_below_every_point_whatever_the_duals(matrix: list[list[int]], cost: list[int], low: list[int]):
    """The proof needs no optimum: any prices of rows give a bound."""
    program = Program()
    first = program.columns(3, cost=cost, low=-2.0, high=2.0)
    for row, least in zip(matrix, low, strict=False):
        program.rows(1, [(np.zeros(3, int), first + np.arange(3), row)], low=least)
    points = [
        sum(a * b for a, b in zip(cost, point, strict=True))
        for point in itertools.product(range(-2, 3), repeat=3)
        if all(
            sum(a * b for a, b in zip(row, point, strict=True)) >= least
            for row, least in zip(matrix, low, strict=False)
        )
    ]
    made = program._made()
    for duals in ([0.0] * len(matrix), [1.5] * len(matrix), [-1.0] * len(matrix), [0.3, -0.1, 7.0, 2.0][: len(matrix)]):
        assert all(made.proven(np.array(duals)) <= point + 1e-9 for point in points)
    found = program.solved()
    if found.feasible:
        assert found.bound <= found.objective + 1e-6
        assert found.bound == pytest.approx(found.objective, abs=1e-5)
        assert all(found.bound <= point + 1e-6 for point in points)
    else:
        assert points == []


def test_what_is_impossible_is_told():
    program = Program()
    one = program.columns(1, high=1.0)
    program.rows(1, [([0], [one], 1.0)], low=2.0)
    assert not program.solved().feasible


def test_the_solver_says_nothing(capfd):
    """Its banner on stdout would stand in front of JSON."""
    knapsack([3, 2], [1, 1], 1).solved()
    assert capfd.readouterr().out == ""
