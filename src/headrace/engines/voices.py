"""The voices of espeak-ng under the names that clients give them. Pure.

OpenAI's voices are its American and British English with a variant of the throat; the others are its languages, as
espeak-ng 1.52 lists them. It is a formant synthesiser: every voice sounds like a machine.
"""

from typing import Final

# Named as OpenAI's: a language of espeak-ng and one of its variants.
NAMED: Final = {
    "alloy": "en-us",
    "ash": "en-us+m1",
    "ballad": "en+m2",
    "cedar": "en-us+m4",
    "coral": "en-us+f1",
    "echo": "en-us+m3",
    "fable": "en",
    "marin": "en-us+f5",
    "nova": "en-us+f2",
    "onyx": "en-us+m7",
    "sage": "en+f3",
    "shimmer": "en-us+f4",
    "verse": "en-us+m6",
}
LANGUAGES: Final = (
    "af", "am", "an", "ar", "as", "az", "ba", "be", "bg", "bn", "bpy", "bs", "ca", "ca-ba", "ca-nw", "ca-va",
    "cmn", "cmn-latn-pinyin", "cs", "cv", "cy", "da", "de", "el", "en", "en-029", "en-gb", "en-gb-scotland",
    "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-gb-x-rp", "en-shaw", "en-us", "en-us-nyc", "eo", "es", "es-419", "et",
    "eu", "fa", "fa-latn", "fi", "fr", "fr-be", "fr-ch", "fr-fr", "ga", "gd", "gn", "grc", "gu", "hak", "haw",
    "he", "hi", "hr", "ht", "hu", "hy", "hyw", "ia", "id", "io", "is", "it", "ja", "jbo", "ka", "kk", "kl", "kn",
    "ko", "kok", "ku", "ky", "la", "lb", "lfn", "lt", "ltg", "lv", "mi", "mk", "ml", "mr", "ms", "mt", "mto", "my",
    "nb", "nci", "ne", "nl", "nog", "om", "or", "pa", "pap", "piqd", "pl", "pt", "pt-br", "py", "qdb", "qu", "quc",
    "qya", "ro", "ru", "ru-cl", "ru-lv", "sd", "shn", "si", "sjn", "sk", "sl", "smj", "sq", "sr", "sv", "sw", "ta",
    "te", "th", "ti", "tk", "tn", "tr", "tt", "ug", "uk", "ur", "uz", "vi", "vi-vn-x-central", "vi-vn-x-south",
    "yue",
)  # fmt: skip
ALL: Final = (*NAMED, *LANGUAGES)

_FILES: Final = {"en-gb": "en", "fr-fr": "fr"}  # listed under the one name, found under the other


def spoken_by(name: str) -> str:
    """What espeak-ng calls the voice.

    >>> spoken_by("nova"), spoken_by("de"), spoken_by("en-gb")
    ('en-us+f2', 'de', 'en')
    """
    return NAMED.get(name) or _FILES.get(name, name)
