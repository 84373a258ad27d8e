"""Traces that are made: as asked, by seed."""

import numpy as np
import pytest

from headrace.errors import Invalid
from headrace.twin.generate import generate, parse


def made(text: str):
    return generate(*parse(text))


@pytest.mark.parametrize("kind", ["constant", "poisson", "diurnal", "bursty"])
def test_rate_and_lengths_are_as_asked(kind: str):
    own = ",cv=2" if kind == "bursty" else ""
    trace = made(f"{kind},rate=5,hours=24,input=700,output=90,seed=4{own}")
    summary = trace.summary()
    assert summary.rate == pytest.approx(5, rel=0.05)
    assert (summary.input_mean, summary.output_mean) == (pytest.approx(700, rel=0.02), pytest.approx(90, rel=0.02))
    assert trace.span_us == 24 * 3_600_000_000


def test_bursts_are_bursts_and_a_day_has_its_rhythm():
    gaps = np.diff(made("bursty,rate=5,hours=8,cv=3,seed=2").arrival_us)
    assert gaps.std() / gaps.mean() == pytest.approx(3, rel=0.1)
    hours = np.bincount(made("diurnal,rate=5,hours=24,swing=0.6,seed=2").arrival_us // 3_600_000_000)
    assert hours.argmax() in range(13, 18)
    assert hours.max() / hours.min() == pytest.approx(4, rel=0.2)


def test_a_long_tail_has_many_models_of_which_few_are_asked():
    trace = made("longtail,rate=2,hours=4,models=80,seed=1")
    asked = np.bincount(trace.model, minlength=80)
    assert len(trace.models) == 80
    assert asked[0] > 10 * asked[40] > 0


def test_seeds_decide():
    assert (made("poisson,seed=1").arrival_us == made("poisson,seed=1").arrival_us).all()
    assert len(made("poisson,seed=1")) != len(made("poisson,seed=2"))


def dispersion(trace, window_s: int = 10) -> float:
    """Variance over mean of counts."""
    counts = np.bincount(trace.arrival_us // (window_s * 1_000_000), minlength=trace.span_us // (window_s * 1_000_000))
    return float(counts.var() / counts.mean())


def test_on_and_off_is_bursty_at_the_rate_that_was_asked():
    trace = made("onoff,rate=5,days=4,on=60,off=240,seed=3")
    assert trace.summary().rate == pytest.approx(5, rel=0.07)
    # of a telegraph signal: 1 + 2 rate (off / on) tau (1 - tau / T (1 - exp(-T / tau))), with 1 / tau = 1 / on + 1 / off
    tau, window = 48.0, 10.0
    expected = 1 + 2 * 5 * (240 / 60) * tau * (1 - tau / window * (1 - np.exp(-window / tau)))
    assert dispersion(trace) == pytest.approx(expected, rel=0.1)


def test_two_levels_are_calmer_than_on_and_off():
    calm, wild = made("onoff,rate=5,hours=24,low=0.5,seed=3"), made("onoff,rate=5,hours=24,seed=3")
    assert calm.summary().rate == pytest.approx(5, rel=0.1)
    assert 1 < dispersion(calm) < dispersion(wild) / 4


def test_users_of_a_long_tail_come_and_go():
    trace = made("longtail,rate=2,days=2,models=30,on=600,off=5400,seed=1")
    asked = np.bincount(trace.model, minlength=30)
    assert asked[:3].sum() > 3 * asked[-3:].sum() > 0
    seldom = trace.select(trace.model == 9)
    assert dispersion(seldom, 300) > 3
    assert trace.summary().rate == pytest.approx(2, rel=0.3)


def test_days_are_24_hours():
    assert made("poisson,days=2,rate=0.1").span_us == 48 * 3_600_000_000


@pytest.mark.parametrize(
    "text", ["diurnal,swing=0.2", "bursty,cv=2", "onoff,on=5,off=9,low=0.1", "longtail,models=3,on=9,off=9,low=0.5"]
)
def test_each_kind_takes_its_own_settings(text: str):
    kind, values = parse(f"{text},rate=2,hours=1,input=5,output=5,spread=0,tenants=2,seed=1")
    assert kind == text.partition(",")[0]
    for part in text.split(",")[1:]:
        name, _, value = part.partition("=")
        assert values[name] == float(value)


@pytest.mark.parametrize(
    ("text", "told"),
    [("waves", "nothing called"), ("poisson,rate", "no setting"), ("poisson,rate=-1", "rate is"), ("bursty,cv=x", "cv is"), ("poisson,rate=1,rate=2", "twice"), ("poisson,days=1,hours=3", "give one"),
     ("longtail,on=5", "belong together"), ("poisson,on=5,off=5", "on is a setting of onoff and longtail, and poisson has none of that"), ("onoff,on=1e-5,off=1e-5", "turns"),
     ("poisson,rate=100000,hours=1000", "more than"), ("poisson,rats=1", "no setting of generate:poisson; there are rate"),
     ("poisson,cv=3", "cv is a setting of bursty, and poisson has none of that; it has rate, hours, input, output, spread, tenants, seed, days$"),
     ("bursty,swing=0.5", "swing is a setting of diurnal, and bursty has none of that; it has rate, .*cv"),
     ("diurnal, models = 3", "models is a setting of longtail, and diurnal"), ("constant,low=0.5", "low is a setting of onoff and longtail"),
     ("longtail,low=0.5", "low is for users who come and go")],
)  # fmt: skip
def test_what_cannot_be_made_is_refused(text: str, told: str):
    with pytest.raises(Invalid, match=told):
        made(text)
