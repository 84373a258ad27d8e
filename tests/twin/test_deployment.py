"""What is said of a new version: read strictly, refused with value, limit and fix, and done to its requests alone."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import Invalid
from headrace.specs.load import load_text
from headrace.twin.deployment import Deployment, parse
from tests.twin.clouds import FILE, cloud, made, steady

S = 1_000_000
TWO = FILE.format(count=4, least=1) + "    versions: {v1: {}, v2: {weight: 0, engine: {kind: vllm, slots: 48}}}\n"


@given(
    st.integers(0, 10**6),
    st.integers(1, 100),
    st.booleans(),
    st.floats(0.01, 100),
    st.integers(0, 1_000_000),
    st.floats(0.01, 100),
    st.integers(0, 10**6),
)
def test_what_is_written_is_read(
    at: int, first: int, manual: bool, speed: float, errors: int, output: float, boot: int
) -> None:
    """In any order, with blanks."""
    parts = [f"at={at}s", f"first={first}", f"speed={speed!r}", f"errors={errors / 10_000}%", f"output={output!r}",
             f"boot = {boot}s", *(["manual"] if manual else [])]  # fmt: skip
    for order in (parts, parts[::-1]):
        assert parse(", ".join(["m@v2", *order])) == Deployment(
            model="m", version="v2", at_us=at * S, first=first, manual=manual, speed=speed, errors_ppm=errors,
            output=output, boot_us=boot * S,
        )  # fmt: skip


def test_a_shadow_is_written_with_a_sign_or_without() -> None:
    assert parse("big@v2,shadow=10%") == parse("big@v2,shadow=10") == Deployment(model="big", version="v2", shadow=10)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("big", "'big' names no version; write a rollout like chat@v2"),
        ("big=v2", "names no version"),
        ("big@v2,speed=0", "speed is '0'; give a number from 0.01 to 100"),
        ("big@v2,speed=-1", "speed is '-1'"),
        ("big@v2,speed=nan", "speed is 'nan'"),
        ("big@v2,speed=quick", "speed is 'quick'"),
        ("big@v2,errors=101%", "errors is '101%'; give a percentage from 0% to 100%, like 1%"),
        ("big@v2,errors=0.5", "errors is '0.5'; give a percentage"),
        ("big@v2,output=0", "output is '0'"),
        ("big@v2,first=0", "first is '0'; give a number from 1 to 100"),
        ("big@v2,first=2.5", "first is '2.5'"),
        ("big@v2,shadow=0%", "shadow is '0%'; give a number from 1 to 100"),
        ("big@v2,shadow=101", "shadow is '101'"),
        (
            "big@v2,shadow=10,first=20",
            "first is for a version that gets traffic, and a shadow gets copies; leave out first",
        ),
        ("big@v2,manual,shadow=10%", "manual is for a version that gets traffic"),
        ("big@v2,at=soon", "at: 'soon' is not a duration"),
        ("big@v2,boot=-3s", "boot: "),
        ("big@v2,manual=perhaps", "manual is 'perhaps'; write manual, or leave it out"),
        ("big@v2,sped=2", "'sped=2' is no setting of a rollout; did you mean speed?"),
        ("big@v2,speed", "'speed' is no setting of a rollout"),
        ("big@v2,at=1m,at=2m", "at is given twice for big@v2; give it once"),
    ],
)
def test_what_cannot_be_read_is_refused(text: str, told: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse(text)
    assert told in refused.value.message


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        (["bag@v2"], "rollout of bag@v2: the cloud has no model 'bag'; did you mean big?"),
        (["big@v1"], "big@v1 has all the traffic of big already; deploy another version than v1"),
        (["big@v2,at=10m"], "at is 10 min, and the trace is over after 10 min; deploy before that"),
        (["big@v2", "big@v3"], "big is rolled out twice in one run"),
    ],
)
def test_what_cannot_be_rolled_out_is_refused(texts: list[str], told: str) -> None:
    with pytest.raises(Invalid) as refused:
        made(steady(1, 600), deployments=tuple(map(parse, texts)))
    assert told in refused.value.message


def test_a_model_that_the_trace_does_not_ask_for_is_named() -> None:
    one = FILE.format(count=4, least=1)
    twice = load_text(one + one.split("models:")[1].replace("big:", "other:"))
    trace = dataclasses.replace(steady(1, 60), models=("big",))
    with pytest.raises(Invalid, match="the trace asks for no other; it asks for big"):
        made(trace, twice, deployments=(parse("other@v2"),))


def test_a_version_that_the_file_has_is_as_the_file_says() -> None:
    """Half the slots, of a prompt that takes the same; what is said of it comes on top."""
    found = made(steady(1, 600), load_text(TWO), deployments=(parse("big@v2,speed=0.5,boot=90s"),), boot_us=30 * S)
    old, new = found.behaviours["big@v1", "gpus"], found.behaviours["big@v2", "gpus"]
    assert (old.slots, new.slots) == (96, 48)
    assert (old.boot_us, new.boot_us) == (30 * S, 90 * S)
    assert new.alone_us(500, 100) == pytest.approx(2 * old.alone_us(500, 100))
    assert found.prompt_us["v2", "gpus"][0] == pytest.approx(2 * found.prompt_us["v1", "gpus"][0])
    assert not found.notes
    assert found.deployments[0].at_us == 60 * S


def test_one_that_it_has_not_is_like_the_one_in_force_and_that_is_told() -> None:
    found = made(steady(1, 600), cloud(4), deployments=(parse("big@new"),))
    new, old = found.behaviours["big@new", "gpus"], found.behaviours["big@v1", "gpus"]
    assert new.alone_us(500, 100) == old.alone_us(500, 100)
    assert found.notes == (
        "big@new is not in the cloud file: it is taken to be like big@v1, but for what is said of it",
    )


def test_a_version_too_slow_for_what_is_promised_is_run_all_the_same() -> None:
    """A cloud that cannot keep its promise is refused; what becomes of a version that cannot is the question."""
    found = made(steady(1, 600), cloud(4), deployments=(parse("big@v2,speed=0.1"),))
    assert found.behaviours["big@v2", "gpus"].alone_us(500, 2) > 50_000


@given(st.integers(0, 1_000_000), st.floats(0.01, 100), st.integers(0, 50))
def test_answers_and_errors_are_by_seed_and_of_that_version_alone(errors: int, output: float, seed: int) -> None:
    trace = steady(10, 100, tokens=(90, 11))
    deployed = Deployment(model="big", version="v2", errors_ppm=errors, output=output)
    found, again = (made(trace, cloud(4), deployments=(deployed,), seed=seed) for _ in range(2))
    tokens, broken = found.outputs["v2"], found.broken["v2"]
    assert np.array_equal(broken, again.broken["v2"])
    assert np.array_equal(tokens, again.outputs["v2"])
    assert set(tokens[broken]) <= {1}
    assert set(tokens[~broken]) <= {max(1, round(11 * output))}
    assert abs(broken.mean() - errors / 1e6) < 0.08
    assert set(trace.output_tokens) == {11}
    assert set(found.outputs) == {"v2"}
