"""Prices of images, speech and video: exact, and findable by names that a cloud file takes."""

import re

from headrace.specs.literals import MARKET_PATTERN
from headrace.specs.media_prices import _ROWS, units
from headrace.specs.priced import UNITS


def test_every_row_can_be_named_in_a_cloud_file():
    """And has a price above 0 in a unit that is metered."""
    for name, unit, _ in _ROWS:
        assert re.match(MARKET_PATTERN, name), name
        assert unit in UNITS
        assert units(name)[unit] > 0


def test_a_price_is_exact():
    """0.10 dollars a second of video, 15 dollars a million characters, 0.006 dollars a minute of audio."""
    assert units("openai/sora-2") == {"video_ms": 100_000_000}
    assert units("azure/tts-1") == {"characters": 15_000_000}
    assert units("azure/whisper-1") == {"audio_ms": 100_000}
