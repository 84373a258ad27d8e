"""What an engine has to declare before it is sent."""

import pytest

from headrace import errors
from headrace.state.table import Ability
from headrace.wire import sampling
from tests.wire.bodies import chat, sent


@pytest.mark.parametrize("name", sampling.EXTRAS)
def test_an_extra_is_sent_where_declared_and_refused_elsewhere(name: str):
    """Both ways, for each."""
    value = True if name == "ignore_eos" else 1
    assert sent(chat(**{name: value}), Ability(parameters=(name,)))[name] == value
    with pytest.raises(errors.Invalid) as refused:
        sent(chat(**{name: value}), Ability())
    assert (refused.value.param, refused.value.code) == (name, "unsupported_parameter")


def test_zero_is_not_missing():
    """An explicit zero reaches the engine."""
    out = sent(chat(temperature=0, top_p=0, seed=0, presence_penalty=0, frequency_penalty=0))
    assert {out[name] for name in ("temperature", "top_p", "seed", "presence_penalty", "frequency_penalty")} == {0}
