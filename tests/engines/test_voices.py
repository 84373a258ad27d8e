"""Every voice that is promised is one that espeak-ng has."""

import numpy as np
import pytest

from headrace.engines import voices
from headrace.engines.runners.espeak_library import RATE_NORMAL
from headrace.engines.runners.recording import Samples
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


def test_a_text_is_told_while_it_is_spoken() -> None:
    """A fifth of a second at most each time, with the characters so far: none are lost, none are told before."""
    library, text = sounds.library(), "Good morning. How are you, my friend?"
    told: list[tuple[int, int]] = []

    def heard(samples: Samples, spoken: int) -> bool:
        told.append((len(samples), spoken))
        return True

    library.tell(text, "en-us", RATE_NORMAL, heard)
    counts = [spoken for _, spoken in told]
    assert counts == sorted(counts)
    assert 0 < counts[0] < len(text) // 3
    assert counts[-1] in (len(text) - 1, len(text))  # of a last sentence its mark may not be counted
    assert max(size for size, _ in told) <= library.rate / 4
    whole = library.speak(text, "en-us", RATE_NORMAL, lambda: True)
    assert sum(size for size, _ in told) == pytest.approx(len(whole), rel=0.01)  # no two times are quite the same
