"""What a worker learns of the sizes of prompts, for quotes."""

import random

import pytest

from headrace.gateway.sizes import SEEN_MIN, Sizes
from headrace.wire.call import Call, estimate


def call(size: int, turns: int = 1, model: str = "m") -> Call:
    return Call(model=model, task="chat", endpoint="", input_bytes=size, input_tokens=estimate(size, turns))


def test_until_enough_was_seen_the_estimate_stands():
    """Also when everything seen was alike, so that nothing can be told apart."""
    sizes = Sizes()
    for _ in range(SEEN_MIN - 1):
        sizes.learn(call(90), 44)
    assert sizes.tokens(call(300)) == ("estimate", estimate(300))
    for _ in range(50):
        sizes.learn(call(90), 44)
    assert sizes.tokens(call(300)) == ("estimate", estimate(300))
    assert sizes.tokens(call(300, model="other")) == ("estimate", estimate(300))


def test_bytes_and_turns_are_told_apart():
    """Four and a half bytes a token, eleven tokens a turn, and a little noise: within a few percent."""
    rng, sizes = random.Random(4), Sizes()
    for _ in range(200):
        size, turns = rng.randrange(20, 3000), rng.randrange(1, 6)
        sizes.learn(call(size, turns), round(size / 4.5 + 11 * turns + rng.gauss(0, 2)))
    for size, turns in [(50, 1), (1000, 2), (2500, 5)]:
        basis, tokens = sizes.tokens(call(size, turns))
        assert basis == "learned"
        assert tokens == pytest.approx(size / 4.5 + 11 * turns, rel=0.05)
