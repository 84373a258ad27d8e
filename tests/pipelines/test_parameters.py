"""What does not fit a pipeline's inputs is refused by name, with the words that would do."""

import pytest

from headrace.errors import Invalid
from headrace.pipelines import parameters
from headrace.specs import pipeline as spec

YAML = spec.read("""
name: p
input: {word: null, count: 3}
limits: {cost: 0.01}
steps: {a: {value: "{{ word }}"}}
output: "{{ a }}"
""")


async def python(word: str, count: int = 3) -> str:
    return word * count


async def open_to_all(word: str, **more: object) -> str:
    return word


@pytest.mark.parametrize("sent", [{"word": "x"}, {"word": "x", "count": 4}])
def test_both_kinds_take_the_same(sent: dict[str, object]):
    """YAML's defaults are filled in; Python fills its own."""
    assert parameters.filled(YAML, sent) == {"count": 3, **sent}
    assert parameters.bound("p", python, sent) == sent


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        ({}, "p needs 'word'; give word=VALUE"),
        ({"word": None}, "p needs 'word'; give word=VALUE"),
        ({"word": "x", "cuont": 1}, "p has no input 'cuont'; did you mean count?; it has: word, count"),
    ],
)
def test_both_kinds_refuse_the_same(sent: dict[str, object], message: str):
    """By the same words."""
    for refused in (lambda: parameters.filled(YAML, sent), lambda: parameters.bound("p", python, sent)):
        with pytest.raises(Invalid) as found:
            refused()
        assert str(found.value) == message


def test_a_function_may_take_whatever_it_is_given():
    """But for what it needs."""
    assert parameters.bound("p", open_to_all, {"word": "x", "other": 1}) == {"word": "x", "other": 1}
    with pytest.raises(Invalid, match="needs 'word'"):
        parameters.bound("p", open_to_all, {"other": 1})
