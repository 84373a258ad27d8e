"""Variants of a cloud file: which place a change means, and what is told of one that means none."""

import pytest

from headrace.errors import Invalid
from headrace.twin.variants import changed, parts

CLOUD = "pools: {gpus: {count: 4}}\nmodels: {llama-3.1-8b: {scaling: {max: 2}}, chat: {placement: [gpus]}}\n"


def test_a_name_may_have_dots():
    assert "llama-3.1-8b: {scaling: {max: 3}}" in changed(CLOUD, ("models.llama-3.1-8b.scaling.max=3",))
    assert "llama-3.1-8b: {scaling: {max: 2}, engine: {slots: 4}}" in changed(
        CLOUD, ("models.llama-3.1-8b.engine.slots=4",)
    )


def test_a_list_is_one_value():
    """Commas part changes only outside of brackets and quotes."""
    assert parts("models.chat.placement=[a,b],policy=ray") == ("models.chat.placement=[a,b]", "policy=ray")
    assert parts("a.b={x: 1, y: [2, 3]}, c.d='1,2' ,") == ("a.b={x: 1, y: [2, 3]}", "c.d='1,2'")
    assert "placement: [a, b]" in changed(CLOUD, ("models.chat.placement=[a,b]",))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("models.chat.placement=[a", "cannot be read"),
        ("models.chat.scaling={", "cannot be read"),
        ("models.chatt.scaling.max=3", "there is no chatt in models; did you mean chat?"),
        ("pools.spot.count=3", "there is no spot in pools; there are gpus"),
        ("pool.gpus.count=3", "there is no pool in the file; did you mean pools?"),
        ("pools.gpus.count.more=3", "pools.gpus.count has no parts"),
        ("pools..count=3", "sets nothing"),
    ],
)
def test_a_change_without_a_place_or_a_value_is_told(change: str, told: str):
    with pytest.raises(Invalid, match=r"^'.*'") as caught:
        changed(CLOUD, (change,))
    assert told in caught.value.message
