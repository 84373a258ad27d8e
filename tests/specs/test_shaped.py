"""The shape of a model in a cloud file: like one that is known, or told in full; what is wrong is named."""

import pytest

from headrace.specs.load import load_text
from headrace.specs.problem import InvalidCloud
from headrace.specs.shapes import KNOWN, Shape

FILE = """
version: 1
pools: {{gpus: {{accelerator: nvidia-h200, memory: 141GB, cpus: 8, price_per_hour: 3.50}}}}
models:
  big:
    task: chat
    engine: {{kind: vllm}}
    source: hf://Qwen/Qwen3-32B
    memory: 120GB
    shape: {shape}
"""


def _shape(text: str) -> Shape | None:
    return load_text(FILE.format(shape=text)).models[0].shape


def test_it_is_like_one_that_is_known_but_for_what_is_said():
    found = _shape("{like: qwen3-32b, weight_bits: 8}")
    assert found is not None
    assert (found.layers, found.weight_bits) == (64, 8)
    assert found.weight_bytes * 2 == KNOWN["qwen3-32b"].weight_bytes


def test_it_may_be_told_in_full():
    text = "{params: 8030000000, layers: 32, hidden: 4096, heads: 32, kv_heads: 8, head_dim: 128}"
    assert _shape(text) == KNOWN["llama-3.1-8b"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{like: qwen3-32}", "no model is known as"),
        ("{params: 8030000000, layers: 32}", "hidden is missing"),
        ("{like: qwen3-32b, active: 40000000000}", "more than params"),
        ("{like: qwen3-32b, kv_heads: 128}", "more than heads"),
    ],
)
def test_what_cannot_be_is_named(text: str, told: str):
    with pytest.raises(InvalidCloud, match=told):
        _shape(text)
