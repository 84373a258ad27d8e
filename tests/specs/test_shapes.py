"""Shapes of models: sizes that follow from them."""

import msgspec
import pytest

from headrace.specs.shapes import KNOWN


@pytest.mark.parametrize("name", KNOWN)
def test_the_name_tells_the_weights(name):
    """The B of a name is its billions of weights, within a tenth."""
    size = next(part for part in name.split("-") if part[-1] in "bm" and part[:-1].replace(".", "").isdigit())
    told = float(size[:-1]) * (10**9 if size[-1] == "b" else 10**6)
    assert KNOWN[name].params == pytest.approx(told, rel=0.1)


def test_fewer_bits_take_less():
    """Half the bits, half the bytes, of weights and of cache."""
    full = KNOWN["qwen3-32b"]
    half = msgspec.structs.replace(full, weight_bits=8, kv_bits=8)
    assert (half.weight_bytes * 2, half.kv_bytes * 2) == (full.weight_bytes, full.kv_bytes)
    assert full.kv_bytes == 256 * 1024


def test_a_mixture_of_experts_goes_through_few():
    assert KNOWN["qwen3-30b-a3b"].active_params == 3_300_000_000
    assert KNOWN["qwen3-32b"].active_params == KNOWN["qwen3-32b"].params
