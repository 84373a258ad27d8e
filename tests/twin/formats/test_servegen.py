"""ServeGen's clients: what is drawn has the rates, the bursts and the lengths of the tables."""

from pathlib import Path

import numpy as np
import pytest

from headrace.errors import Invalid, Permanent
from headrace.twin.formats.servegen import DEFAULTS, QUANTILES, parse, read
from headrace.twin.load import load

LEVELS = [0, 1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 99, 100]
RATES_HEAD = "model,client,t_s,rate,cv,pattern,shape,scale"
LENGTHS_HEAD = ",".join(("model", "client", "t_s", "field", "mean", *QUANTILES))


def written(folder: Path, rates: list[str], lengths: list[str] | None = None) -> str:
    """A file of rates of CSV and its lengths: client 1 of 100 to 200 tokens in and 10 out, unless others are given."""
    even = ",".join(str(100 + level) for level in LEVELS)
    lengths = lengths or [f"m,1,0,input_tokens,150,{even}", "m,1,0,output_tokens,10," + ",".join(["10"] * 15)]
    (folder / "a_lengths.csv").write_text("\n".join([LENGTHS_HEAD, *lengths]) + "\n")
    (folder / "a_rates.csv").write_text("\n".join([RATES_HEAD, *rates]) + "\n")
    return str(folder / "a_rates.csv")


def windows(count: int, rate: float, cv: float, client: int = 1) -> list[str]:
    return [f"m,{client},{600 * number},{rate},{cv},Gamma,1,1" for number in range(count)]


@pytest.mark.parametrize("cv", [0.5, 1, 4])
def test_a_window_has_its_rate_on_average_whatever_the_bursts(tmp_path, cv):
    trace = read(written(tmp_path, windows(1500, 0.5, cv)))
    count = 0.5 * 600 * 1500
    assert abs(len(trace) - count) < 5 * cv * count**0.5
    assert trace.span_us == 1500 * 600 * 1_000_000


def test_gaps_have_the_variation_of_the_table_and_thinned_ones_less(tmp_path):
    path = written(tmp_path, windows(400, 3, 3))
    for share, cv in ((1.0, 3.0), (0.25, (1 + 0.25 * 8) ** 0.5)):
        trace = read(path, DEFAULTS | {"share": share})
        gaps = np.diff(trace.arrival_us)
        assert len(trace) == pytest.approx(share * 3 * 600 * 400, rel=0.03)
        assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.06)


def test_lengths_follow_the_quantiles_and_the_mean(tmp_path):
    skew = ",".join(["0"] * 7 + ["100"] + ["1000"] * 7)
    path = written(
        tmp_path,
        windows(30, 2, 1),
        [f"m,1,0,input_tokens,400,{skew}", "m,1,0,output_tokens,10," + ",".join(["10"] * 15)],
    )
    trace = read(path)
    assert trace.input_tokens.mean() == pytest.approx(400, rel=0.03)
    assert np.quantile(trace.input_tokens, 0.35) == 0
    assert (trace.output_tokens == 10).all()


def test_a_client_without_lengths_has_its_models_median_and_that_is_told(tmp_path):
    trace = read(written(tmp_path, windows(5, 1, 1) + windows(5, 1, 1, client=2)))
    assert trace.tenants == ("m/client-1", "m/client-2")
    assert trace.notes == (
        "1 of 2 clients have no input_tokens; the median of the model was taken.",
        "1 of 2 clients have no output_tokens; the median of the model was taken.",
    )
    for client in (0, 1):
        assert trace.input_tokens[trace.tenant == client].mean() == pytest.approx(150, rel=0.02)


def test_a_slot_of_six_hours_has_its_own_lengths(tmp_path):
    later = [f"m,1,21600,{field},7,{','.join(['7'] * 15)}" for field in ("input_tokens", "output_tokens")]
    first = [f"m,1,0,{field},3,{','.join(['3'] * 15)}" for field in ("input_tokens", "output_tokens")]
    trace = read(written(tmp_path, windows(72, 0.5, 1), first + later))
    before = trace.arrival_us < 6 * 3_600_000_000
    assert set(trace.input_tokens[before].tolist()) == {3}
    assert set(trace.input_tokens[~before].tolist()) == {7}


def test_days_are_chosen_and_seeds_decide(tmp_path):
    path = written(tmp_path, windows(432, 0.05, 1))
    one, same, other = (load(f"servegen:{path},from=1,days=2,seed={seed}") for seed in (1, 1, 2))
    assert one.span_us == 48 * 3_600_000_000
    assert (one.arrival_us.tolist(), one.input_tokens.tolist()) == (
        same.arrival_us.tolist(),
        same.input_tokens.tolist(),
    )
    assert one.arrival_us.tolist() != other.arrival_us.tolist()
    assert len(load(path, "servegen")) == pytest.approx(0.05 * 600 * 432, rel=0.05)


@pytest.mark.parametrize(
    ("rates", "told"),
    [
        (["m,1,0,-1,1,Gamma,1,1"], r"a_rates.csv:2 rate is '-1'"),
        (["m,1,0,,1,Gamma,1,1"], r"a_rates.csv:2 rate is missing"),
        (["m,1,0,1e6,1,Gamma,1,1"], r"rate is 1000000.0, and must be from 0 to 100000"),
        (["m,1,0,1,1"], r"a_rates.csv:2 this line has 5 fields and the heading 8"),
        (["m,1,0,0,1,Gamma,1,1"], r"0 requests are expected"),
        (windows(2, 1e5, 1), r"120000000 requests are expected.*share=0.1"),
        ([], r"no row"),
    ],
)
def test_what_is_wrong_with_rates_is_told(tmp_path, rates, told):
    with pytest.raises(Invalid, match=told):
        read(written(tmp_path, rates))


def test_what_is_wrong_with_lengths_is_told(tmp_path):
    falling = ",".join(["9"] * 14 + ["8"])
    with pytest.raises(Invalid, match="client 1 are not from 0 to 16000000 and rising"):
        read(written(tmp_path, windows(1, 1, 1), [f"m,1,0,input_tokens,9,{falling}"]))
    with pytest.raises(Invalid, match="no rows of output_tokens"):
        read(written(tmp_path, windows(1, 1, 1), ["m,1,0,input_tokens,9," + ",".join(["9"] * 15)]))
    (tmp_path / "a_lengths.csv").unlink()
    with pytest.raises(Invalid, match=r"lengths that belong to a_rates\.csv are not there"):
        read(str(tmp_path / "a_rates.csv"))


def test_settings_are_strict():
    with pytest.raises(Invalid, match="no setting of servegen"):
        parse("a,rate=1")
    with pytest.raises(Invalid, match="share is '2'; give a number from 1e-06 to 1"):
        parse("a,share=2")


def test_without_pyarrow_the_fix_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    for name in ("a_rates.parquet", "a_lengths.parquet"):
        (tmp_path / name).write_bytes(b"PAR1")
    with pytest.raises(Permanent, match=r"pip install -r requirements/parquet.txt"):
        load(str(tmp_path / "a_rates.parquet"))


def test_parquet_is_read_as_csv_is(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    from pyarrow import csv

    path = written(tmp_path, windows(10, 1, 2))
    for name in ("rates", "lengths"):
        parquet.write_table(csv.read_csv(tmp_path / f"a_{name}.csv"), tmp_path / f"a_{name}.parquet")
    trace = load(str(tmp_path / "a_rates.parquet"))
    assert trace.arrival_us.tolist() == read(path).arrival_us.tolist()
    (tmp_path / "a_rates.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(Invalid, match="no Parquet file"):
        load(str(tmp_path / "a_rates.parquet"))
