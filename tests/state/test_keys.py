"""Keys: one form, one digest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.state import keys


@given(st.binary(min_size=44, max_size=44))
def test_a_key_that_is_made_is_read_back(chance: bytes):
    """Whatever the chance, id and secret survive the text."""
    name, secret, text = keys.make_key(chance)
    assert keys.parse_key(text) == (name, secret)


@pytest.mark.parametrize(
    "text", ["", "hr-", "sk-" + "a" * 50, "hr-AAAAAAAAAAAA-" + "x" * 43, "hr-aaaaaaaaaaaa-" + "x" * 42]
)
def test_what_is_not_a_key_is_none(text: str):
    """No exception, no guess."""
    assert keys.parse_key(text) is None


def test_the_digest_depends_on_pepper_and_secret():
    """A stolen database says nothing without the pepper."""
    assert keys.digest(b"p", "s") != keys.digest(b"q", "s")
    assert keys.digest(b"p", "s") != keys.digest(b"p", "t")
    assert keys.same(keys.digest(b"p", "s"), keys.digest(b"p", "s"))


def test_too_little_chance_is_refused():
    """A key of fewer random bytes is never made."""
    with pytest.raises(ValueError, match="44 random bytes"):
        keys.make_key(b"short")
