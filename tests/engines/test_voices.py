"""Every voice that is promised is one that espeak-ng has."""

import numpy as np
import pytest

from headrace.engines import voices
from headrace.engines.runners.espeak_library import RATE_NORMAL
from tests.engines.runners import sounds


@pytest.mark.parametrize("voice", voices.ALL)
def test_a_voice_speaks(voice: str) -> None:
    """Two names and three numbers take a second or so, and are loud."""
    library = sounds.library()
    samples = library.speak("Anna Tamara 1 2 3.", voices.spoken_by(voice), RATE_NORMAL, lambda: True)
    assert 0.4 < len(samples) / library.rate < 5
    assert np.sqrt((samples.astype(float) ** 2).mean()) > 500


def test_openais_voices_differ() -> None:
    """Thirteen names, thirteen sounds."""
    library = sounds.library()
    heard = {
        library.speak("Hello.", voices.spoken_by(name), RATE_NORMAL, lambda: True).tobytes() for name in voices.NAMED
    }
    assert len(heard) == len(voices.NAMED)


def test_another_voice_is_refused() -> None:
    """By its name."""
    with pytest.raises(LookupError, match="no voice 'xx-none'"):
        sounds.library().speak("Hello.", "xx-none", RATE_NORMAL, lambda: True)


def test_who_does_not_want_it_any_more_ends_it() -> None:
    """A text of a minute ends after its first pieces."""
    library = sounds.library()
    samples = library.speak("Hello there. " * 100, "en-us", RATE_NORMAL, lambda: False)
    assert len(samples) / library.rate < 1


def test_a_text_with_a_zero_is_spoken_to_its_end() -> None:
    """C would end there."""
    library = sounds.library()
    whole = library.speak("One two three four.", "en-us", RATE_NORMAL, lambda: True)
    cut = library.speak("One two\0three four.", "en-us", RATE_NORMAL, lambda: True)
    assert len(cut) > 0.8 * len(whole)
