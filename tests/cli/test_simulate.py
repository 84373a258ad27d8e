"""`headrace simulate` as typed: tables, JSON, a page; variants side by side; mistakes named."""

import re
from pathlib import Path

import pytest

from tests.sdk.server import Answer

EXAMPLE = str(Path(__file__).parents[2] / "examples" / "h200.yaml")
TRACE = "generate:poisson,rate=8,hours=0.2,input=900,output=110,seed=1"


def test_a_run_tells_cost_latency_and_causes(cli):
    """And says that it is simulated."""
    out = cli("simulate", EXAMPLE, "--trace", TRACE, "--warm", "2").out
    assert out.startswith("simulated: ")
    assert re.search(r"as given +\$\d+\.\d\d", out)
    assert "qwen3-32b@v1" in out


def test_variants_stand_beside_each_other(cli):
    """One device less, another policy; the same trace for all."""
    done = cli("simulate", EXAMPLE, "--trace", TRACE, "--vs", "pools.h200.count=2", "--vs", "policy=static:4", "--json")
    runs = done.json["runs"]
    assert [run["name"] for run in runs] == ["as given", "pools.h200.count=2", "policy=static:4"]
    assert len({run["requests"] for run in runs}) == 1
    assert runs[1]["models"][0]["peak_replicas"] <= 2
    assert runs[2]["models"][0]["peak_replicas"] == 4
    assert done.json["simulated"] is True


def test_cost_is_held_against_the_least(cli, tmp_path):
    """In the table, in JSON for the run and each model, and on the page; one device less is another question."""
    page = tmp_path / "run.html"
    words = ("simulate", EXAMPLE, "--trace", TRACE, "--warm", "2", "--vs", "policy=static:4")
    done = cli(*words, "--json")
    ours, static = done.json["runs"]
    of = ours["optimum"]
    assert of["ratio_ppm"] == ours["cost_nanousd"] * 1_000_000 // of["least_nanousd"] >= 1_000_000
    assert of["whole"] == ["qwen3-32b@v1"]
    assert ours["models"][0]["optimum"] == of
    assert static["optimum"]["least_nanousd"] == of["least_nanousd"]
    assert static["optimum"]["ratio_ppm"] > of["ratio_ppm"]
    told = f"as given: {of['ratio_ppm'] / 1e6:.2f} of the least with whole replicas ("
    assert told in cli(*words, "--html", str(page)).out
    assert told in page.read_text()
    without = cli(*words, "--no-optimum", "--json")
    assert [run["optimum"] for run in without.json["runs"]] == [None, None]
    long = TRACE.replace("rate=8", "rate=0.001").replace("hours=0.2", "hours=180")
    assert cli("simulate", EXAMPLE, "--trace", long, "--json").json["runs"][0]["optimum"] is None


def test_what_no_fleet_can_do_has_no_least_and_is_simulated(cli):
    """Three replicas of work for one device: the run is told, and why there is nothing to hold it against."""
    out = cli("simulate", EXAMPLE, "--trace", TRACE.replace("rate=8", "rate=24"), "--set", "pools.h200.count=1").out
    assert re.search(r"as given +\$\d+\.\d\d +- ", out)
    assert "as given: no least cost; qwen3-32b@v1: the work needs up to" in out


def test_a_model_may_be_bought_instead(cli):
    """Its requests cost what that API charges; the fleet of the others is simulated as before."""
    done = cli("simulate", EXAMPLE, "--trace", TRACE, "--vs", "api.qwen3-32b=openai/gpt-4o-mini", "--json")
    ours, theirs = done.json["runs"]
    (bought,) = theirs["bought"]
    assert bought["requests"] == ours["requests"] == theirs["requests"]
    tokens = ours["models"][0]["input_tokens"], ours["models"][0]["output_tokens"]
    assert (bought["input_tokens"], bought["output_tokens"]) == tokens
    assert bought["cost_nanousd"] == tokens[0] * 150 + tokens[1] * 600  # 0.15 and 0.60 dollars a million
    assert theirs["cost_nanousd"] == bought["cost_nanousd"]
    text = cli("simulate", EXAMPLE, "--trace", TRACE, "--vs", "api.qwen3-32b=openai/gpt-4o-mini").out
    assert "is not known" in text


ROLLED = "generate:poisson,rate=2,hours=0.4,input=900,output=110,seed=1"


def test_a_rollout_is_told_step_by_step_and_beside_a_run_without_it(cli, tmp_path):
    """In the table, in JSON and on the page: when, why, both versions in figures, and what it cost."""
    page, told = tmp_path / "run.html", "qwen3-32b@v2,at=4m,errors=50%"
    words = ("simulate", EXAMPLE, "--trace", ROLLED, "--rollout", told, "--vs", "rollout=none", "--html", str(page))
    out = cli(*words).out
    assert re.search(r"as given: qwen3-32b@v2 against v1: rolled back: more errors: \d+ of \d+ with v2", out)
    assert re.search(r"4 min +0 % +warming +deployed", out)
    assert re.search(r"4.5 min +5 % +canary +a replica of v2 is ready", out)
    assert "is not in the cloud file: it is taken to be like qwen3-32b@v1" in out
    assert re.search(r"as given: with the rollout it cost \$0.\d+ more than rollout=none, without it \(\+", out)
    assert "more errors" in page.read_text()
    assert "requests that came meanwhile" in page.read_text()
    found = cli(*words, "--json").json
    ours, without = found["runs"]
    (one,) = ours["rollouts"]
    assert [step["share"] for step in one["steps"]] == [0, 5, 0]
    assert (one["phase"], one["steps"][-1]["at_us"]) == ("rolled_back", one["ended_us"])
    assert without["rollouts"] == []
    (row,) = found["rollouts"]
    assert row["cost_nanousd"] == ours["cost_nanousd"] - without["cost_nanousd"] > 0
    assert sum(model["failed"] for model in ours["models"]) == one["versions"][1]["failed"] > 0


def test_rollouts_of_variants_stand_beside_each_other(cli):
    """What follows `rollout=` belongs to it up to the next place of the file; another variant keeps the run's own."""
    variants = ("rollout=qwen3-32b@v2,at=2m,manual,pools.h200.count=3", "pools.h200.count=4")
    words = [word for variant in variants for word in ("--vs", variant)]
    done = cli("simulate", EXAMPLE, "--trace", TRACE, "--rollout", "qwen3-32b@v3,at=1m,manual", *words, "--json")
    told = [(run["rollouts"][0]["candidate"], run["rollouts"][0]["began_us"]) for run in done.json["runs"]]
    assert told == [("v3", 60_000_000), ("v2", 120_000_000), ("v3", 60_000_000)]
    assert done.json["rollouts"] == []


def test_a_page_has_plots_and_needs_nothing_else(cli, tmp_path):
    """No script, no address of elsewhere but the names of XML's own forms."""
    page = tmp_path / "run.html"
    cli("simulate", EXAMPLE, "--trace", TRACE, "--html", str(page))
    text = page.read_text()
    assert text.count("<svg") == 3
    assert "Simulated" in text
    assert "<script" not in text
    assert not re.findall(r'(?:src|href)="https?://', text)


def test_a_file_is_a_trace_and_a_part_of_it_may_be_run(cli, tmp_path):
    rows = "".join(f"{second},500,50\n" for second in range(100))
    (tmp_path / "t.csv").write_text("arrival_s,input_tokens,output_tokens\n" + rows)
    done = cli("simulate", EXAMPLE, "--trace", str(tmp_path / "t.csv"), "--from", "10s", "--to", "30s", "--json")
    assert done.json["runs"][0]["requests"] == 20


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--trace", "nowhere.csv"), "no file nowhere.csv"),
        (("--trace", "generate:waves"), "nothing called 'waves'"),
        (("--trace", TRACE, "--policy", "magic"), "no policy is called 'magic'"),
        (("--trace", TRACE, "--boot", "soon"), "--boot"),
        (("--trace", TRACE, "--set", "pools.a100.count=2"), "there is no a100"),
        (("--trace", TRACE, "--set", "pools.h200.count=many"), "pools.h200.count"),
        (("--trace", TRACE, "--set", "nothing"), "sets nothing"),
        (("--trace", TRACE, "--vs", "api.qwen3-32b=nothing"), "names no API"),
        (("--trace", TRACE, "--vs", "api.other=openai/gpt-4o-mini"), "no model 'other'"),
        (("--trace", TRACE, "--vs", "api.qwen3-32b=openai/none"), "no price of openai/none"),
        (("--trace", TRACE, "--rollout", "qwen3-32b"), "names no version; write a rollout like"),
        (("--trace", TRACE, "--rollout", "qwen@v2"), "the cloud has no model 'qwen'"),
        (("--trace", TRACE, "--rollout", "qwen3-32b@v1"), "has all the traffic of qwen3-32b already"),
        (("--trace", TRACE, "--rollout", "qwen3-32b@v2,at=1h"), "at is 1 h, and the trace is over after 12 min"),
        (("--trace", TRACE, "--rollout", "qwen3-32b@v2,speed=0"), "give a number from 0.01 to 100"),
        (("--trace", TRACE, "--rollout", "qwen3-32b@v2,errors=120%"), "give a percentage from 0% to 100%"),
        (("--trace", TRACE, "--vs", "rollout=none,at=2m"), "rollout=none has no rollout"),
        (("--trace", TRACE, "--from", "9h"), "no part of a trace"),
    ],
)
def test_mistakes_are_named(cli, words: tuple[str, ...], told: str):
    done = cli("simulate", EXAMPLE, *words)
    assert done.status in (2, 3, 4)
    assert told in done.err


def test_a_model_whose_speed_nobody_knows_is_refused(cli):
    """The built-in cloud runs on a CPU: no table tells how fast that is."""
    done = cli("simulate", "--trace", TRACE, "--map", "model=smollm2")
    assert done.status == 2
    assert "nobody knows how fast smollm2@v1 is" in done.err


def test_the_ledger_is_a_trace_and_what_happened_stands_beside(cli, cloud):
    """Speeds are those that were measured; figures of both, and how far they are from each other."""
    rows = "".join(f"{1_700_000_000 + second}.5,100,50,smollm2,default,400000,finished\n" for second in range(0, 60, 5))
    heads = "arrival_s,input_tokens,output_tokens,model,tenant,ttft_us,outcome\n"
    work = {"prefill_ns": 1_000_000, "decode_ns": 5_000_000, "fixed_ns": 10_000_000, "residual_ppm": 1, "samples": 90}
    ran = {
        "work": {"local": work},
        "slots": 8,
        "context_tokens": 2048,
        "boot_us": 2_000_000,
        "replica_us": 1,
        "cost_nanousd": 10**6,
    }
    cloud.answers["GET /headrace/v1/trace"] = Answer((heads + rows).encode())
    cloud.answers["GET /headrace/v1/history"] = Answer({"models": {"smollm2@v1": ran}})
    done = cli("simulate", "--trace", "ledger", "--last", "5m", "--compare", "--warm", "1", "--json")
    found = {(row["model"], row["figure"]): row for row in done.json["compared"]}
    assert found["smollm2@v1", "TTFT p50"]["live"] == "400.0 ms"
    assert found["smollm2@v1", "TTFT p50"]["twin"] == "100.0 ms"
    assert found["smollm2@v1", "TTFT p50"]["off_by"] == "-75.0 %"
    assert found["smollm2@v1", "cost"]["live"] == "$0.0010"


def test_an_empty_ledger_is_told(cli, cloud):
    cloud.answers["GET /headrace/v1/trace"] = Answer(b"arrival_s,input_tokens\n")
    assert "no chat request" in cli("simulate", "--trace", "ledger").err
    assert "--compare is for" in cli("simulate", EXAMPLE, "--trace", TRACE, "--compare").err


def test_more_or_less_of_a_trace(cli):
    """Half of it by request, twice of it by client; a wrong factor is named."""

    def asked(*words: str) -> int:
        return cli("simulate", EXAMPLE, "--trace", TRACE, "--json", *words).json["runs"][0]["requests"]

    assert asked("--scale", "0.5", "--scale-by", "thin") < 0.6 * asked()
    assert asked("--scale", "2") == 2 * asked()
    wrong = cli("simulate", EXAMPLE, "--trace", TRACE, "--scale", "2", "--scale-by", "thin")
    assert (wrong.status, "--scale-by clients" in wrong.err) == (2, True)
    assert "--map a: write it like" in cli("simulate", EXAMPLE, "--trace", TRACE, "--map", "a").err
