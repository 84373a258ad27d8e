"""`headrace plan` as typed."""

from pathlib import Path

EXAMPLE = str(Path(__file__).parents[2] / "examples" / "h200.yaml")
TRACE = "generate:poisson,rate=8,hours=0.2,input=900,output=110,seed=1"


def test_the_least_cost_stands_beside_the_simulated_one(cli):
    done = cli("plan", EXAMPLE, "--trace", TRACE, "--json")
    assert 0 < done.json["nanousd"] < done.json["simulated_nanousd"]
    assert "times the least" in cli("plan", EXAMPLE, "--trace", TRACE).out


def test_only_the_bound(cli):
    out = cli("plan", EXAMPLE, "--trace", TRACE, "--no-simulation").out
    assert "least cost of all: $" in out
    assert "simulated" not in out


def test_what_no_fleet_can_do_is_told(cli):
    done = cli("plan", EXAMPLE, "--trace", TRACE.replace("rate=8", "rate=300"), "--no-simulation")
    assert done.status == 2
    assert "more" in done.err
    assert cli("plan", EXAMPLE, "--trace", TRACE, "--missed", "100").status == 2
