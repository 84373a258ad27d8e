"""Tokens to text as they come: whole characters only, and never a part of a stop text. Pure.

Used by the openvino runner. A token is a piece of bytes; a character may be spread over several.
"""

import codecs
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

_SAMPLE: Final = 'Grüße 東京! {"a": 1}\n\tIt\'s 3.14'
_BYTE: Final = re.compile(rb"<0x([0-9A-F]{2})>")


class Vocabulary:
    """The bytes of every token; special tokens have none."""

    def __init__(self, tokens: Mapping[bytes, int], encode: Callable[[str], Iterable[int]], special: set[int]) -> None:
        """`tokens` as the tokenizer names them: plain bytes, or SentencePiece's way with ▁ for a space.

        Raises ValueError when neither reading gives a sample text back.
        """
        for reading in (_plain, _sentencepiece):
            pieces = {number: b"" if number in special else reading(name) for name, number in tokens.items()}
            joined = b"".join(pieces.get(number, b"") for number in encode(_SAMPLE))
            if joined.decode("utf8", "replace").strip() == _SAMPLE:
                self._pieces = pieces
                return
        raise ValueError("this tokenizer's vocabulary does not give a sample text back; use engine llama_cpp")

    def piece(self, token: int) -> bytes:
        """The bytes of a token."""
        return self._pieces.get(token, b"")


class Text:
    """One choice being written. `met` is the stop text that has come, after which nothing is given; "" before."""

    __slots__ = ("_decoder", "_held", "_stops", "met", "text", "tokens")

    def __init__(self, stops: Sequence[str] = ()) -> None:
        self._decoder = codecs.getincrementaldecoder("utf8")("replace")
        self._held = ""
        self._stops = tuple(stops)
        self.met = ""
        self.text = ""
        self.tokens = 0

    def add(self, piece: bytes, last: bool = False) -> str:
        """What can be shown now, after one more token. `last`: no more comes, so nothing is held back."""
        self.tokens += bool(piece) or not last
        if self.met:
            return ""
        pending = self._held + self._decoder.decode(piece, last)
        found = [(at, stop) for stop in self._stops if (at := pending.find(stop)) >= 0]
        if found:
            at, self.met = min(found)
            shown, self._held = pending[:at], ""
        else:
            keep = 0 if last else self._overlap(pending)
            shown, self._held = pending[: len(pending) - keep], pending[len(pending) - keep :]
        self.text += shown
        return shown

    def _overlap(self, text: str) -> int:
        """Length of the longest end of `text` with which a stop text begins."""
        longest = 0
        for stop in self._stops:
            for size in range(min(len(stop) - 1, len(text)), longest, -1):
                if stop.startswith(text[-size:]):
                    longest = size
                    break
        return longest


def _plain(name: bytes) -> bytes:
    return name


def _sentencepiece(name: bytes) -> bytes:
    byte = _BYTE.fullmatch(name)
    return bytes([int(byte[1], 16)]) if byte else name.replace("▁".encode(), b" ")
