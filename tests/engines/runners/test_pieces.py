"""Text is shown as early as it may be: whole characters, and never the beginning of a stop text."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.engines.runners.pieces import Text, Vocabulary

WORDS = st.text(st.sampled_from("abé東🎈 "), max_size=30)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    marks = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in itertools.pairwise(marks)]


@given(WORDS, st.lists(st.integers(0, 200)))
def test_any_cut_gives_the_same_text(words: str, places: list[int]) -> None:
    """Characters cut in two are put together again."""
    text = Text()
    shown = "".join(text.add(piece) for piece in cut(words.encode(), places)) + text.add(b"", last=True)
    assert (words, words) == (shown, text.text)


@given(WORDS, st.lists(st.integers(0, 200)), st.lists(st.text(st.sampled_from("abé"), min_size=1, max_size=3)))
def test_a_stop_text_ends_it_wherever_the_cuts_are(words: str, places: list[int], stops: list[str]) -> None:
    """What is shown is what stands before the first stop text."""
    text = Text(stops)
    shown = "".join(text.add(piece) for piece in cut(words.encode(), places)) + text.add(b"", last=True)
    found = [words.find(stop) for stop in stops if stop in words]
    if not found:
        assert words == shown
    else:
        assert text.met
        # Which of two overlapping stop texts is seen first depends on the cuts; none is ever shown whole.
        assert words.startswith(shown)
        assert not any(stop in shown for stop in stops)


def test_nothing_is_held_back_without_need() -> None:
    """A text that cannot become a stop text is shown at once."""
    text = Text(["END"])
    assert [text.add(piece) for piece in (b"a", b"E", b"x", b"EN", b"D", b"more")] == ["a", "", "Ex", "", "", ""]


def test_a_vocabulary_is_read_either_way() -> None:
    """Plain bytes, or SentencePiece's spaces and byte tokens; what gives the sample back is right."""
    sample = 'Grüße 東京! {"a": 1}\n\tIt\'s 3.14'
    plain = {sample.encode(): 0, b"<s>": 1}
    assert Vocabulary(plain, lambda _: [0], {1}).piece(1) == b""
    names = [{" ": "▁", "\n": "<0x0A>"}.get(letter, letter) for letter in sample]
    tokens = {name.encode(): number for number, name in enumerate(names)}
    spaced = Vocabulary(tokens, lambda _: [tokens[name.encode()] for name in names], set())
    shown = [spaced.piece(tokens[name.encode()]) for name in ("▁", "<0x0A>", "東")]
    assert [b" ", b"\n", "東".encode()] == shown
    with pytest.raises(ValueError, match="use engine llama_cpp"):
        Vocabulary({b"a": 0}, lambda _: [0], set())
