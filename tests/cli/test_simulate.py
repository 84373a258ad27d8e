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
    assert re.search(r"as given +\$\d+\.\d+ +- ", out)
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


def test_a_shadow_is_told_with_copies_their_pace_and_what_it_costs(cli, tmp_path):
    """In the table, in JSON and on the page; no request of the run is one of its copies."""
    page, told = tmp_path / "run.html", "qwen3-32b@v2,at=4m,shadow=50%,output=1.5"
    words = ("simulate", EXAMPLE, "--trace", ROLLED, "--rollout", told, "--vs", "rollout=none", "--html", str(page))
    out = cli(*words).out
    assert re.search(r"as given: qwen3-32b@v2 against v1: \d+ requests were copied to it, and nobody was answered", out)
    assert re.search(r"4.5 min +50 % copied +shadow +a replica of v2 is ready", out)
    assert re.search(r"as given: with the shadow it cost \$\d.\d+ more than rollout=none, without it \(\+", out)
    assert "as given: copies, beside their originals" in out
    assert "1.50 times" in out
    assert "copies, beside their originals" in page.read_text()
    ours, without = cli(*words, "--json").json["runs"]
    copied = ours["rollouts"][0]["copied"]
    assert copied["made"] == copied["answered"] > 100
    assert copied["cost_nanousd"] == ours["cost_nanousd"] - without["cost_nanousd"] > 0
    assert [model["requests"] for model in ours["models"]] == [without["requests"], 0]


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
        (("--trace", TRACE, "--from", "9h"), "from 9 h to 12 min is no part of a trace that lasts 12 min"),
        (("--trace", TRACE, "--round", "0s"), "--round is 0s; give 10ms or more"),
        (("--trace", TRACE, "--mtbf-hours", "-1"), "--mtbf-hours is -1"),
        (("--trace", TRACE, "--warm", "-1"), "--warm"),
        (("--trace", TRACE, "--batch", "nan"), "--batch is nan"),
        (("--trace", TRACE, "--batch", "-3"), "--batch is -3"),
        (("--trace", TRACE, "--scale", "0"), "--scale is 0"),
        (("--trace", TRACE, "--last", "1h"), "--last is for --trace ledger"),
        (("--trace", TRACE, "--map", "other=qwen3-32b"), "the trace asks for no model 'other'"),
        (("--trace", TRACE, "--html", "/nowhere/run.html"), "/nowhere/run.html cannot be written"),
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


def _lived(cloud) -> None:
    """A minute of a cloud: a request every five seconds."""
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
    remark = "# 7 requests of other tasks than chat are left out\n"
    cloud.answers["GET /headrace/v1/trace"] = Answer((remark + heads + rows).encode())
    cloud.answers["GET /headrace/v1/history"] = Answer({"models": {"smollm2@v1": ran}})


def test_the_ledger_is_a_trace_and_what_happened_stands_beside(cli, cloud):
    """Speeds are those that were measured; figures of both, and how far they are from each other."""
    _lived(cloud)
    done = cli("simulate", "--trace", "ledger", "--last", "5m", "--compare", "--warm", "1", "--json")
    found = {(row["model"], row["figure"]): row for row in done.json["compared"]}
    assert found["smollm2@v1", "TTFT p50"]["live"] == "400.0 ms"
    assert found["smollm2@v1", "TTFT p50"]["twin"] == "100.0 ms"
    assert found["smollm2@v1", "TTFT p50"]["off_by"] == "-75.0 %"
    assert found["smollm2@v1", "cost"]["live"] == "$0.0010"


def test_each_version_stands_beside_itself(cli, cloud, tmp_path):
    """Two versions that answered live: the one that the twin runs, and not both together; the other beside nothing."""
    _lived(cloud)
    heads = "arrival_s,input_tokens,output_tokens,model,tenant,ttft_us,outcome,version\n"
    rows = "".join(
        f"{1_700_000_000 + second}.5,100,50,smollm2,default,{us},finished,{version}\n"
        for second, (us, version) in enumerate([(400_000, "v1"), (9_000_000, "v2")] * 10)
    )
    cloud.answers["GET /headrace/v1/trace"] = Answer((heads + rows).encode())
    done = cli("simulate", "--trace", "ledger", "--last", "5m", "--compare", "--warm", "1", "--json")
    found = {(row["model"], row["figure"]): (row["live"], row["off_by"]) for row in done.json["compared"]}
    assert found["smollm2@v1", "TTFT p50"][0] == found["smollm2@v1", "TTFT p95"][0] == "400.0 ms"
    assert found["smollm2@v2", "TTFT p50"] == ("9000.0 ms", "-")


def test_what_the_ledger_has_beside_chat_is_told(cli, cloud):
    _lived(cloud)
    out = cli("simulate", "--trace", "ledger", "--warm", "1").out
    assert "  7 requests of other tasks than chat are left out: what they need is not simulated." in out


def test_replicas_that_start_at_once_work_from_then_on(cli):
    """Their time is not told as that of a start."""
    (model,) = cli("simulate", EXAMPLE, "--trace", TRACE, "--boot", "0s", "--json").json["runs"][0]["models"]
    assert model["causes_nanousd"]["start"] * 100 < model["causes_nanousd"]["work"]


def test_a_part_of_the_ledger_may_be_run(cli, cloud):
    """`--from` and `--to` count from its first request; what happened is asked for the same time."""
    _lived(cloud)
    part = ("--trace", "ledger", "--from", "10s", "--to", "30s")
    done = cli("simulate", *part, "--warm", "1", "--compare", "--json")
    assert done.json["runs"][0]["requests"] == 4
    asked = [heard.path for heard in cloud.heard if "/history" in heard.path]
    assert asked[-1].endswith("?from=1700000010500000&to=1700000030500000")
    assert "no part of a trace" in cli("simulate", "--trace", "ledger", "--from", "2h").err


def test_the_ledger_can_be_planned(cli, cloud):
    """The least it could have cost, at the speeds that were measured."""
    _lived(cloud)
    done = cli("plan", "--trace", "ledger", "--last", "5m", "--json")
    assert 0 < done.json["nanousd"] <= done.json["simulated_nanousd"]
    assert "1 of local" in cli("plan", "--trace", "ledger", "--mix").out


def test_what_is_odd_about_a_trace_is_told(cli, tmp_path):
    """Models of other names, and requests that are longer than the model takes."""
    rows = "0,500,50,gpt-4\n1,40000,50,gpt-4\n"
    (tmp_path / "t.csv").write_text("arrival_s,input_tokens,output_tokens,model\n" + rows)
    out = cli("simulate", EXAMPLE, "--trace", str(tmp_path / "t.csv")).out
    assert "Requests for gpt-4 are taken as qwen3-32b's, the only model of the cloud." in out
    refused = "1 of 2 requests of qwen3-32b have more tokens than its context of 32768 and are refused"
    assert refused in out
    assert "raise models.qwen3-32b.engine.context, or leave them out" in out
    assert out.count("1 (1 too long)") == 2  # of the run, and of its model
    wider = f"models.qwen3-32b.engine.context={65536}"
    both = cli("simulate", EXAMPLE, "--trace", str(tmp_path / "t.csv"), "--vs", wider, "--json").json["runs"]
    found = [(model["refused"], model["too_long"], model["context_tokens"]) for run in both for model in run["models"]]
    assert found == [(1, 1, 32768), (0, 0, 65536)]
    cli("simulate", EXAMPLE, "--trace", str(tmp_path / "t.csv"), "--html", str(tmp_path / "p.html"))
    page = (tmp_path / "p.html").read_text()
    assert refused in page
    assert "1 (1 too long)" in page
    out = cli("simulate", EXAMPLE, "--trace", str(tmp_path / "t.csv"), "--map", "gpt-4=qwen3-32b").out
    assert "are taken as" not in out


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


def test_each_model_and_tenant_has_its_own_figures(cli, tmp_path):
    """In the table, in JSON and on the page: latencies, promises kept, what was refused, where the money went."""
    rows = "".join(f"{second},500,50,{'acme' if second % 4 else 'beta'}\n" for second in range(100))
    (tmp_path / "t.csv").write_text("arrival_s,input_tokens,output_tokens,tenant\n" + rows)
    words = ("simulate", EXAMPLE, "--trace", str(tmp_path / "t.csv"), "--warm", "1", "--html", str(tmp_path / "p.html"))
    out, page = cli(*words).out, (tmp_path / "p.html").read_text()
    for title in ("as given, how requests went", "as given, where the money went", "as given, its tenants"):
        assert f"{title}:\n" in out
        assert f"<h2>{title}</h2>" in page
    assert re.search(r"qwen3-32b@v1 +beta +25 +25 +\d\.\d\d s .* 100\.00 % .* 100\.00 %", out)
    (model,) = cli(*words, "--json").json["runs"][0]["models"]
    acme, beta = sorted(model["tenants"], key=lambda tenant: tenant["name"])
    assert (acme["requests"], beta["requests"]) == (75, 25)
    assert min(acme["ttft"]["p50_us"], beta["ttft"]["p50_us"]) <= model["ttft"]["p50_us"]
    assert model["ttft"]["p50_us"] <= max(acme["ttft"]["p50_us"], beta["ttft"]["p50_us"])
    assert 0 < beta["tpot"]["p99_us"] <= model["tpot"]["p99_us"] + 1


def test_a_page_is_read_in_the_dark_and_on_a_phone(cli, tmp_path):
    """Its drawings are in the colour of its text, and what is wide scrolls within itself."""
    page = tmp_path / "run.html"
    cli("simulate", EXAMPLE, "--trace", TRACE, "--html", str(page))
    text = page.read_text()
    assert "prefers-color-scheme:dark" in text
    assert "currentColor" in text
    assert "#010203" not in text
    assert text.count("<table>") == text.count('"><table>')
    assert "promised: 2 s" in text or text.count("<use ") > 0  # letters are drawn as paths


def test_who_was_never_served_has_no_latency(cli):
    """A pool whose replicas all fail while they start serves nobody: no zero stands for a time."""
    out = cli("simulate", EXAMPLE, "--trace", TRACE, "--mtbf-hours", "0.00001").out
    assert re.search(r"as given +\S+ +\S+ +\S+ +- +- +- +0\.00 % +- +- ", out)


def test_ctrl_c_ends_the_command_with_what_there_is(cli, monkeypatch):
    """The run is told as of that moment, those after it are named as not begun, and the status says so."""
    import contextlib

    from headrace.cli import simulate

    @contextlib.contextmanager
    def nervous(_name, _count):
        def look(done: int, _of: int) -> None:
            if done > 100:
                raise KeyboardInterrupt

        yield look

    monkeypatch.setattr(simulate, "_progress", nervous)
    long = TRACE.replace("hours=0.2", "hours=5")
    done = cli("simulate", EXAMPLE, "--trace", long, "--vs", "policy=static", "--vs", "policy=ray")
    assert done.status == 130
    assert "as given (interrupted)" in done.out
    assert "policy=static" not in done.out
    assert "as given: interrupted; what follows is about its first" in done.err
    assert "not begun: policy=static, policy=ray" in done.err
