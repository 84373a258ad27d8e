"""Commands about money: cost, budget, quote. What they print is what the API says, and adds up on screen."""

import pytest

from tests.sdk.server import Answer

MODEL = {
    "model": "m@v1", "used_nanousd": 600, "load_nanousd": 100, "idle_nanousd": 200, "drain_nanousd": 60,
    "failed_nanousd": 40, "charged_nanousd": 3_000_000_000, "total_nanousd": 1000, "overhead_nanousd": 400,
}  # fmt: skip
STATEMENT = {
    "from_us": 0, "to_us": 3_600_000_000, "booked_until_us": 3_600_000_000, "owed_nanousd": 4000,
    "charged_nanousd": 3_000_000_000, "free_nanousd": {"local": 3000}, "residual_nanousd": 0, "models": [MODEL],
    "borne_nanousd": {}, "rates": {"local": 80_000_000},
}  # fmt: skip
ROW = {"tenant": "acme", "model": "m", "amount": 7, "charge_nanousd": 2_500_000_000, "cost_nanousd": 500_000_000}
BUDGET = {
    "scope": "tenant:acme", "period": "month", "name": "2026-11", "limit_nanousd": 40_000_000_000,
    "spent_nanousd": 10_000_000_000, "held_nanousd": 0, "left_nanousd": 30_000_000_000, "at_limit": "refuse",
    "warn_percent": [50],
}  # fmt: skip


def test_a_statement_adds_up_on_screen(cli, cloud):
    """Models and free capacity are the devices; nothing is not accounted for."""
    cloud.answers["GET /headrace/v1/cost/statement"] = Answer(STATEMENT)
    out = cli("cost", "idle", "--last", "24h").out
    assert "models $0.000001000 + free capacity $0.000003000 (75.0 %) + fragments $0.000000000 (0.0 %) = " in out
    assert "not accounted for: 0 nano-dollars" in out
    assert "60.0 %" in out
    assert "$0.0800 an hour" in cli("cost", "now").out
    assert cli("cost", "idle", "--json").json == STATEMENT


def test_spend_is_shown_by_what_was_asked(cli, cloud):
    """With cost and margin for those who may see them, and without for others."""
    cloud.answers["GET /headrace/v1/cost"] = Answer({"from_us": 0, "to_us": 1, "booked_until_us": 5, "rows": [ROW]})
    out = cli("cost", "by", "tenant", "model", "--from", "2026-11-01").out
    assert out.splitlines()[0].split() == ["TENANT", "MODEL", "REQUESTS", "CHARGED", "COST", "MARGIN"]
    assert out.splitlines()[1].split() == ["acme", "m", "7", "$2.50", "$0.5000", "$2.00"]
    assert "booked until 00:00:00 UTC" in out
    mine = {name: value for name, value in ROW.items() if name != "cost_nanousd"}
    cloud.answers["GET /headrace/v1/cost"] = Answer({"from_us": 0, "to_us": 1, "booked_until_us": 5, "rows": [mine]})
    assert "MARGIN" not in cli("cost", "by", "tenant", "model").out


@pytest.mark.parametrize("words", [["--last", "7d", "--from", "2026-11-01"], ["--last", "soon"]])
def test_a_time_that_cannot_be_meant_is_refused(cli, cloud, words):
    """Status 2, and what to give."""
    done = cli("cost", "by", "tenant", *words)
    assert done.status == 2
    assert "--last" in done.err or "7d" in done.err or "like" in done.err


def test_a_comparison_is_honest_when_the_api_wins(cli, cloud):
    """And names its source; a model that cannot be compared says why."""
    row = {
        "model": "m@v1", "against": "openai/gpt-4o-mini", "own_nanousd": 900, "source": "list 1",
        "elsewhere_nanousd": 100, "utilisation_ppm": 20_000, "break_even_ppm": 180_000, "own_is_cheaper": False,
        "why": "",
    }  # fmt: skip
    other = {**row, "model": "n@v1", "own_is_cheaper": None, "why": "it was not used", "source": ""}
    cloud.answers["GET /headrace/v1/cost/compare"] = Answer({"from_us": 0, "to_us": 1, "rows": [row, other]})
    out = cli("cost", "compare").out
    assert "the API" in out
    assert "18.0 %" in out
    assert "it was not used" in out
    assert "list 1" in out


def test_wrong_books_are_status_1_and_name_the_place(cli, cloud):
    """What is found is printed before the error."""
    wrong = {"ok": False, "entries": 3, "head": "", "found": ["the chain breaks at entry 2"], "total_nanousd": 0}
    cloud.answers["GET /headrace/v1/cost/verify"] = Answer(wrong)
    done = cli("cost", "verify")
    assert done.status == 1
    assert "the chain breaks at entry 2" in done.out


def test_a_budget_is_set_shown_and_removed(cli, cloud):
    """Dollars are exact; what is left is told."""
    cloud.answers["POST /headrace/v1/budgets"] = Answer(BUDGET)
    cloud.answers["GET /headrace/v1/budgets"] = Answer({"budgets": [BUDGET]})
    cloud.answers["DELETE /headrace/v1/budgets"] = Answer({"budgets": []})
    out = cli("budget", "set", "tenant:acme", "40.000000001", "--at-limit", "degrade", "--warn", "80").out
    assert "$30.00 of $40.00 left" in out
    sent = cloud.heard[0].json
    assert (sent["limit_nanousd"], sent["at_limit"], sent["warn_percent"]) == (40_000_000_001, "degrade", [80])
    assert "25.0 %" in cli("budget", "show").out
    assert "no budget" in cli("budget", "remove", "tenant:acme").out


@pytest.mark.parametrize("amount", ["-1", "0", "much", "1e3x"])
def test_an_amount_that_is_none_is_refused(cli, cloud, amount):
    """Status 2 before anything is sent."""
    assert cli("budget", "set", "tenant:acme", "--", amount).status == 2


def test_a_quote_shows_the_worst_case(cli, cloud):
    """And asks nothing of a model."""
    quote = {
        "expected": "0.000002400",
        "worst_case": "0.000031900",
        "input_tokens": 8,
        "output_tokens": 5,
        "price": "p",
    }
    cloud.answers["POST /v1/chat/completions"] = Answer(quote)
    assert "at most    $0.000031900" in cli("quote", "m", "Hi", "--max-tokens", "5").out
    assert cloud.heard[0].headers["x-headrace-dry-run"] == "quote"


def test_an_export_goes_to_a_file_or_to_standard_output(cli, cloud, tmp_path):
    """As it came; --json makes an array of it; CloudEvents are no table."""
    cloud.answers["GET /headrace/v1/cost/export"] = Answer(b"a,b\n1,2\n3,4\n")
    assert cli("cost", "export").out == "a,b\n1,2\n3,4\n"
    assert cli("cost", "export", "--csv", "--json").json == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]
    done = cli("cost", "export", "--focus", "-o", str(tmp_path / "out.csv"))
    assert (done.out, "2 rows" in done.err) == ("", True)
    assert (tmp_path / "out.csv").read_text() == "a,b\n1,2\n3,4\n"
    assert "format=focus" in cloud.heard[0].path
    assert cli("cost", "export", "--cloudevents", "-o", str(tmp_path / "x.parquet")).status == 2


def test_a_forecast_says_how_good_it_is(cli, cloud):
    """The words are the API's."""
    one = {"scope": "", "period": "month", "text": "$1 expected; no day was scored yet"}
    cloud.answers["GET /headrace/v1/cost/forecast"] = Answer({"total": one, "budgets": [{**one, "scope": "tenant:a"}]})
    assert "tenant:a" in cli("cost", "forecast").out
    assert "scored" in cli("cost", "forecast").out
