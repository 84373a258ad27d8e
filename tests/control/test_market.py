"""What closed APIs charge, asked of the real process with the real library."""

import sys

import pytest

from headrace import assembly
from headrace.control import market as asked
from headrace.control.market import Market
from headrace.settings import Settings

pytestmark = pytest.mark.anyio


async def test_prices_come_with_their_source_and_what_is_not_known_says_so(tmp_path):
    """Once asked, not again."""
    market = Market(assembly.command(Settings(home=tmp_path), "market"))
    assert await market.learn(["openai/gpt-4o-mini", "openai/no-such-model", "openai/text-embedding-3-small"])
    units = market.units("openai/gpt-4o-mini")
    assert units is not None
    assert units["output_tokens"] > units["input_tokens"] > units["cached_tokens"] > 0
    assert market.source("openai/gpt-4o-mini").startswith("genai-prices ")
    assert market.units("openai/no-such-model") is None
    assert "openai/no-such-model" in market.problem("openai/no-such-model")
    assert set(market.units("openai/text-embedding-3-small") or {}) == {"input_tokens"}
    assert not await market.learn(["openai/gpt-4o-mini"])
    assert await market.learn(["openai/sora-2"])
    assert market.units("openai/sora-2") == {"video_ms": 100_000_000}
    assert market.source("openai/sora-2").startswith("LiteLLM ")


async def test_a_process_that_says_nothing_is_no_price(tmp_path):
    """And no crash."""
    market = Market(("false",))
    assert not await market.learn(["openai/gpt-4o-mini"])
    assert market.problem("openai/gpt-4o-mini")


@pytest.mark.parametrize(
    "says", ["print('no JSON')", "print('[]')", "print('{\"a\": 1}')", "import time; time.sleep(60)"]
)
async def test_a_process_that_says_nonsense_or_hangs_is_no_price(monkeypatch, says: str):
    """It is ended, and asked again the next time."""
    monkeypatch.setattr(asked, "ASK_S", 0.5)
    market = Market((sys.executable, "-c", says))
    for _ in range(2):
        assert not await market.learn(["openai/gpt-4o-mini"])
    assert market.units("openai/gpt-4o-mini") is None
    assert "not asked" in market.problem("openai/gpt-4o-mini")
