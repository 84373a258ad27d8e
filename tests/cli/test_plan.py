"""`headrace plan` as typed."""

import re
from pathlib import Path

EXAMPLE = str(Path(__file__).parents[2] / "examples" / "h200.yaml")
TRACE = "generate:poisson,rate=8,hours=0.2,input=900,output=110,seed=1"


def test_the_least_cost_stands_beside_the_simulated_one(cli):
    done = cli("plan", EXAMPLE, "--trace", TRACE, "--json")
    assert 0 < done.json["nanousd"] < done.json["bound_nanousd"] <= done.json["whole_nanousd"]
    assert done.json["bound_nanousd"] < done.json["simulated_nanousd"]
    out = cli("plan", EXAMPLE, "--trace", TRACE).out
    assert "times the least with whole replicas" in out
    assert "whole replicas: no fleet of whole ones costs less" in out


def test_only_the_bound(cli):
    out = cli("plan", EXAMPLE, "--trace", TRACE, "--no-simulation").out
    assert "least cost of all: $" in out
    assert "simulated" not in out


def test_hours_of_a_short_trace_have_digits_that_say_something(cli):
    """A minute of one replica is no 0.0 hours, and no window is from 0.0 to 0.0 h."""
    short = TRACE.replace("hours=0.2", "hours=0.02")
    row = cli("plan", EXAMPLE, "--trace", short, "--no-simulation").out.splitlines()[1]
    hours = float(re.search(r" h200 (\S+) ", row).group(1))
    assert 0.002 < hours < 0.05
    out = cli("plan", EXAMPLE, "--trace", TRACE.replace("hours=0.2", "hours=0.05"), "--window", "1m").out
    assert re.search(r" 0 h +0.0167 h ", out)


def test_what_no_fleet_can_do_is_told(cli):
    done = cli("plan", EXAMPLE, "--trace", TRACE.replace("rate=8", "rate=300"), "--no-simulation")
    assert done.status == 2
    assert "more" in done.err
    held = "qwen3-32b@v1 is held to that by pools.h200.count (12) and models.qwen3-32b.scaling.max (12)"
    assert held in done.err
    more = ("--set", "pools.h200.count=60", "--set", "models.qwen3-32b.scaling.max=60")
    assert cli("plan", EXAMPLE, "--trace", TRACE.replace("rate=8", "rate=300"), "--no-simulation", *more).status == 0
    assert cli("plan", EXAMPLE, "--trace", TRACE, "--missed", "100").status == 2


def test_the_mix_the_tail_and_the_windows(cli):
    """Each question has its own answer, and one is asked at a time."""
    out = cli("plan", EXAMPLE, "--trace", TRACE, "--mix").out
    assert "the cheapest mix for each of 1 hours: 2 of h200" in out
    done = cli("plan", EXAMPLE, "--trace", TRACE, "--window", "6m", "--json")
    assert [row["to_us"] for row in done.json["windows"]] == [360_000_000, 720_000_000]
    assert [row["whole"] for row in done.json["windows"]] == [True, True]
    tail = cli("plan", EXAMPLE, "--trace", TRACE.replace("rate=8", "rate=0.1"), "--exclusive", "--swap", "3s", "--json")
    assert min(tail.json["nanousd"], tail.json["simulated_nanousd"]) > 0  # with 96 slots it may share, and be cheaper
    both = cli("plan", EXAMPLE, "--trace", TRACE, "--mix", "--exclusive")
    assert (both.status, "one at a time" in both.err) == (2, True)


def test_a_value_of_the_file_may_be_set(cli):
    """At twice the price it costs twice as much."""
    one, two = (
        cli(
            "plan",
            EXAMPLE,
            "--trace",
            TRACE,
            "--no-simulation",
            "--set",
            f"pools.h200.price_per_hour={price}",
            "--json",
        )
        for price in (3.5, 7)
    )
    assert abs(two.json["nanousd"] - 2 * one.json["nanousd"]) <= 10
