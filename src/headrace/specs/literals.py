"""How values are written in the cloud file: names, durations, sizes, money, dates, references; how each looks."""

from typing import Annotated, Final

from msgspec import Meta

NAME_PATTERN: Final = r"^[a-z0-9][a-z0-9._-]*$"
NAME_AT_VERSION_PATTERN: Final = r"^[a-z0-9][a-z0-9._-]*(@[a-z0-9][a-z0-9._-]*)?$"
REFERENCE_PATTERN: Final = r"^(env:[A-Za-z_][A-Za-z0-9_]*|file:/.+)$"
URL_PATTERN: Final = r"^https?://[^\s/?#@]+(/[^\s?#]*)?$"
ARG_PATTERN: Final = r"^[a-z][a-z0-9_-]*$"
DATE_PATTERN: Final = r"^\d{4}-\d{2}-\d{2}$"
MARKET_PATTERN: Final = r"^[a-z0-9_-]+/[A-Za-z0-9][A-Za-z0-9._:-]*$"
QUANTISE_PATTERN: Final = r"^[A-Za-z0-9_]*$"
MIG_PATTERN: Final = r"^\d+g\.\d+gb$"

# What a value that does not match its pattern should look like; `specs.form` puts it behind the message.
PATTERN_WORDS: Final = {
    NAME_PATTERN: "use small letters, digits, dot, dash and underscore, beginning with a letter or digit",
    REFERENCE_PATTERN: "name where the secret is found, env:NAME or file:/absolute/path, never the secret itself",
    NAME_AT_VERSION_PATTERN: "write NAME or NAME@VERSION, in small letters, digits, dot, dash and underscore",
    URL_PATTERN: "write it like http://127.0.0.1:8000, without user, query or fragment",
    ARG_PATTERN: "write the option without its dashes, like max_model_len",
    DATE_PATTERN: "write a date like 2026-12-01",
    MARKET_PATTERN: "write PROVIDER/MODEL, like openai/gpt-4o-mini",
    QUANTISE_PATTERN: "name a format, like Q4_0",
    MIG_PATTERN: "name a MIG profile, like 1g.10gb",
}

_DURATION: Final = {"parse": "duration"}
_SIZE: Final = {"parse": "size"}
_MONEY: Final = {"parse": "money"}

Name = Annotated[
    str,
    Meta(
        pattern=NAME_PATTERN,
        max_length=64,
        description="small letters, digits, dot, dash and underscore; begins with a letter or digit",
    ),
]
NameAtVersion = Annotated[str, Meta(pattern=NAME_AT_VERSION_PATTERN, max_length=129)]
Duration = Annotated[
    str,
    Meta(pattern=r"^\d+(\.\d+)?\s*(us|ms|s|m|h|d)$", max_length=24, extra=_DURATION, examples=["800ms", "30s", "5m"]),
]
Size = Annotated[
    str,
    Meta(
        pattern=r"^\d+(\.\d+)?\s*(B|kB|MB|GB|TB|KiB|MiB|GiB|TiB)$",
        max_length=24,
        extra=_SIZE,
        examples=["512MiB", "80GB"],
    ),
]
Reference = Annotated[
    str,
    Meta(
        pattern=REFERENCE_PATTERN,
        max_length=4096,
        description="where a secret is found, never the secret itself: env:NAME or file:/absolute/path",
    ),
]
Money = Annotated[
    int | float | str,
    Meta(extra=_MONEY, description="US dollars, at most 9 decimals; a text is read exactly, too", examples=[2.10]),
]
Date = Annotated[str, Meta(pattern=DATE_PATTERN, max_length=10, examples=["2026-12-01"])]
