"""How a model behaves on a pool: lines follow what its speed says, and prompts are of their own length."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.economics.work import WorkModel
from headrace.policy.performance import Measured, Roofline, Scaled
from headrace.specs import accelerators, shapes
from headrace.twin.behaviour import Behaviour, steps_in
from headrace.twin.replica import SimReplica

ROOFLINES = [
    Roofline(shapes.KNOWN[shape], accelerators.TABLE[device])
    for shape, device in [
        ("qwen3-32b", "nvidia-h200"),
        ("llama-3.1-8b", "nvidia-l40s"),
        ("llama-3.1-8b", "nvidia-h100"),
        ("llama-3.1-8b", "nvidia-a100-80gb"),
    ]
]


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(ROOFLINES), st.integers(1, 256), st.floats(0, 1.2))
def test_lines_follow_the_roofline(engine: Roofline, batch: int, part: float):
    """Within a thousandth, and beyond a full cache, too."""
    looked = part * engine.kv_tokens
    base_us, token_us = Behaviour(engine, batch, 0).line(batch, looked)
    assert base_us + token_us * looked == pytest.approx(engine.step_ns(batch, looked / batch) / 1000, rel=1e-3)
    assert base_us > 0
    assert token_us > 0


def test_what_was_learned_is_a_line_already():
    """What each token looked at adds, as the books learned it, and twice as much on a pool twice as slow."""
    learned = Measured(WorkModel(fixed_ns=9_000_000, decode_ns=1_000_000, context_ps=2_500_000), 8 * 2048)
    assert Behaviour(learned, 8, 0).line(4, 3000) == pytest.approx((13_000, 2.5))
    slower = Scaled(learned, 2.0, learned.kv_tokens)
    assert Behaviour(slower, 8, 0).line(4, 3000) == pytest.approx((26_000, 5.0))


@given(st.floats(1, 1e5), st.floats(0, 50), st.integers(0, 5_000))
def test_steps_that_grow_are_counted_back(step_us: float, growth_us: float, steps: int):
    taken = sum(step_us + growth_us * (number + 0.5) for number in range(steps))
    assert steps_in(taken, step_us, growth_us) == pytest.approx(steps)


def test_prompts_look_at_what_is_cached_and_at_themselves():
    """Half a prompt in the cache saves less than half of it: the other half looks at all."""
    engine = Measured(WorkModel(prompt_ns=1_000_000, prefill_ns=2_000, look_ps=10_000, decode_ns=1), 8 * 2048)
    behaviour = Behaviour(engine, 8, 0)
    assert behaviour.prompt_us(1000, 0) == 1_000 + 1000 * 2 + 5_000
    assert behaviour.prompt_us(1000, 500) == 1_000 + 500 * 2 + 500 * 750 * 0.01
    assert behaviour.prompt_us(1000, 1000) == behaviour.prompt_us(1000, 999), "its last token is always read"
    assert SimReplica("r", behaviour, 0).prompt_us(1000, 500) == behaviour.prompt_us(1000, 500)
    assert Behaviour(ROOFLINES[0], 8, 0).prompt_us(20_000, 0) > 2.05 * Behaviour(ROOFLINES[0], 8, 0).prompt_us(
        10_000, 0
    )


@given(st.sampled_from(ROOFLINES), st.integers(0, 10_000), st.integers(1, 500))
def test_a_request_alone_is_one_of_a_replica(engine: Roofline, tokens_in: int, tokens_out: int):
    behaviour = Behaviour(engine, 8, 0)
    replica = SimReplica("r", behaviour, 0)
    replica.add(0, 100.0, tokens_in, tokens_out, 0)
    while replica.running:
        ended_us = replica.due_us
        replica.happen(ended_us)
    assert ended_us == pytest.approx(100 + behaviour.alone_us(tokens_in, tokens_out))
