"""Prefixes within prefixes: what two prompts share, and what a replica has kept of the one that comes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import Invalid
from headrace.twin.formats import mooncake
from headrace.twin.prefixes import Kept, Paths
from headrace.twin.trace import merge, trace_of

# 0 <- 1 <- 2 and 0 <- 3: a common block, a conversation of two more, and another one
CHAINS = np.array([[-1, 512], [0, 1024], [1, 1536], [0, 1024]])
BLOCK = 512


def test_a_prompt_is_cached_as_far_as_it_begins_like_one_that_came_before():
    paths, kept = Paths(CHAINS), Kept(1 << 30)
    assert kept.take(paths.of(2, 1536)) == 0
    assert kept.take(paths.of(3, 1024)) == 512
    assert kept.take(paths.of(1, 1000)) == 1000  # a prompt that ends within its last block
    assert kept.take(paths.of(2, 1536)) == 1536
    assert [paths.root(prefix) for prefix in (0, 1, 2, 3, -1)] == [0, 0, 0, 0, -1]


def test_long_forms_go_before_what_they_begin_with():
    """Room for three blocks: the fourth takes the place of the end of the oldest."""
    paths, kept = Paths(CHAINS), Kept(3 * BLOCK)
    kept.take(paths.of(2, 1536))
    kept.take(paths.of(3, 1024))
    assert kept.take(paths.of(2, 1536)) == 1024


def test_prefixes_that_stand_for_themselves_are_as_they_were():
    paths, kept = Paths(np.empty((0, 2), np.int64)), Kept(100)
    assert [kept.take(paths.of(7, tokens)) for tokens in (40, 60, 50)] == [0, 40, 50]
    assert kept.take(paths.of(8, 50)) == 0
    assert kept.take(paths.of(7, 60)) == 0  # 60 and 50 are more than there is room for


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=5), min_size=2, max_size=12))
def test_what_a_trace_shares_is_what_its_blocks_have_in_common(prompts: list[list[int]]):
    """Against plain sets of beginnings; hashes name a block with all that is before it."""
    ids: dict[tuple[int, ...], int] = {}
    lines = []
    for at, blocks in enumerate(prompts):
        hashes = [ids.setdefault(tuple(blocks[: depth + 1]), len(ids)) for depth in range(len(blocks))]
        lines.append(
            f'{{"timestamp": {at}, "input_length": {len(blocks) * BLOCK}, "output_length": 1, "hash_ids": {hashes}}}'
        )
    seen: set[tuple[int, ...]] = set()
    shared = 0
    for blocks in prompts:
        beginnings = [tuple(blocks[: depth + 1]) for depth in range(len(blocks))]
        shared += BLOCK * sum(one in seen for one in beginnings)
        seen.update(beginnings)
    trace = mooncake.read(lines, "test")
    assert trace.summary().shared_input == pytest.approx(shared / (BLOCK * sum(map(len, prompts))))
    twice = merge(trace, trace)
    assert len(twice.chains) == 2 * len(trace.chains)
    assert twice.summary().shared_input == pytest.approx(trace.summary().shared_input)


def test_a_chain_that_leads_nowhere_is_refused():
    columns = {"arrival_us": [0], "input_tokens": [9], "output_tokens": [1], "prefix": [1], "prefix_tokens": [4]}
    with pytest.raises(Invalid, match="in none of 1 chains"):
        trace_of(columns, chains=np.array([[-1, 4]]))
    with pytest.raises(Invalid, match="comes after it"):
        trace_of(columns, chains=np.array([[1, 4], [-1, 4]]))
