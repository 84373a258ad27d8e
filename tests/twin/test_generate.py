"""Traces that are made: as asked, by seed."""

import numpy as np
import pytest

from headrace.errors import Invalid
from headrace.twin.generate import generate, parse, thin


def made(text: str):
    return generate(*parse(text))


@pytest.mark.parametrize("kind", ["constant", "poisson", "diurnal", "bursty"])
def test_rate_and_lengths_are_as_asked(kind: str):
    trace = made(f"{kind},rate=5,hours=24,input=700,output=90,seed=4,cv=2")
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


def test_thinning_keeps_the_order_and_the_part():
    trace = made("poisson,rate=20,hours=1,seed=1")
    less = thin(trace, 0.25, 3)
    assert len(less) / len(trace) == pytest.approx(0.25, rel=0.05)
    assert (np.diff(less.arrival_us) >= 0).all()


@pytest.mark.parametrize(
    ("text", "told"),
    [("waves", "nothing called"), ("poisson,rate", "no setting"), ("poisson,rate=-1", "rate is"), ("poisson,cv=x", "cv is"),
     ("poisson,rate=100000,hours=1000", "more than")],
)  # fmt: skip
def test_what_cannot_be_made_is_refused(text: str, told: str):
    with pytest.raises(Invalid, match=told):
        made(text)
