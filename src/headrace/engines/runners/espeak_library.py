"""The C library espeak-ng, as far as it is used here: one text at a time, to samples. Source: espeak-ng's speak_lib.h.

Not safe for threads: whoever has made a `Library` calls it from one thread.
"""

import ctypes
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from headrace.engines.runners.recording import Heard, Samples

_SYNCHRONOUS: Final = 2  # AUDIO_OUTPUT_SYNCHRONOUS: `speak` returns when all of it has been given to the callback
_PIECE_MS: Final = 200  # of sound for each call of the callback
_UTF8: Final = 1  # espeakCHARS_UTF8; neither SSML nor phonemes in brackets are read
_POSITION_CHARACTERS: Final = 1
_RATE: Final = 1  # espeakRATE, words a minute
RATE_NORMAL: Final = 175
RATE_MIN, RATE_MAX = 100, 350  # what it keeps to within a twentieth (it takes 80 to 450)
_SAMPLE: Final = ctypes.POINTER(ctypes.c_short)
_LAST, _WORD, _END = 0, 1, 5  # espeak_EVENT_TYPE: the list ends; a word begins; a clause has ended


class _Id(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    """espeak_EVENT; `text_position` is in characters, from 1."""

    _fields_ = [
        ("type", ctypes.c_int), ("unique_identifier", ctypes.c_uint), ("text_position", ctypes.c_int),
        ("length", ctypes.c_int), ("audio_position", ctypes.c_int), ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p), ("id", _Id),
    ]  # fmt: skip


_CALLBACK: Final = ctypes.CFUNCTYPE(ctypes.c_int, _SAMPLE, ctypes.c_int, ctypes.POINTER(_Event))


class Library:
    """`rate` is its samples a second. Raises OSError when the library or its data cannot be used."""

    def __init__(self, library: str, data: str) -> None:
        self._c: Any = ctypes.CDLL(library)
        self.rate: int = self._c.espeak_Initialize(_SYNCHRONOUS, _PIECE_MS, data.encode(), 0)
        if self.rate <= 0:
            raise OSError(f"espeak-ng cannot read its data in {data}")
        self._c.espeak_Synth.argtypes = (
            ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint, ctypes.c_uint,
            ctypes.c_void_p, ctypes.c_void_p,
        )  # fmt: skip
        self._heard: Heard = lambda _samples, _spoken: False
        self._spoken = 0
        self._callback = _CALLBACK(self._piece)  # kept: the library has no reference to it
        self._c.espeak_SetSynthCallback(self._callback)

    def speak(self, text: str, voice: str, words_per_minute: int, wanted: Callable[[], bool]) -> Samples:
        """The text as samples; what there is so far when `wanted` says no. Else see `tell`."""
        pieces: list[Samples] = [np.empty(0, np.int16)]

        def heard(samples: Samples, _spoken: int) -> bool:
            pieces.append(samples)
            return wanted()

        self.tell(text, voice, words_per_minute, heard)
        return np.concatenate(pieces)

    def tell(self, text: str, voice: str, words_per_minute: int, heard: Heard) -> None:
        """Give `heard` the text's samples while they are made, a fifth of a second or less each time, until it says no.

        With them go the characters of the text that are spoken so far. `voice` is one that the library has. Raises
        LookupError for another voice and RuntimeError when the library gives up.
        """
        if self._c.espeak_SetVoiceByName(voice.encode()):
            raise LookupError(f"espeak-ng has no voice {voice!r}")
        self._c.espeak_SetParameter(_RATE, words_per_minute, 0)
        self._heard, self._spoken = heard, 0
        data = text.replace("\0", " ").encode()
        if self._c.espeak_Synth(data, len(data) + 1, 0, _POSITION_CHARACTERS, 0, _UTF8, None, None):
            raise RuntimeError("espeak-ng could not speak the text")

    def _piece(self, samples: Any, count: int, events: Any) -> int:
        """A piece of sound; 1 ends the speaking."""
        place = 0
        while events and events[place].type != _LAST:
            event = events[place]
            if event.type in (_WORD, _END):
                self._spoken = max(self._spoken, event.text_position - 1 + event.length)
            place += 1
        if not samples or count <= 0:
            return 0
        return 0 if self._heard(np.frombuffer(ctypes.string_at(samples, 2 * count), np.int16), self._spoken) else 1
