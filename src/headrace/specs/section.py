"""What sections of the cloud file share: strictness, and the price and budget that models and tenants may have."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from headrace.specs.literals import MARKET_PATTERN, Date, Money


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Any part of the file: keys that are not known are refused."""


_Percent = Annotated[int, Meta(ge=0, le=10_000)]


class Price(Section, frozen=True):
    """What is charged for a model. Units, or cost_plus, or mirror; in dollars, exact to 9 decimals."""

    input_tokens: Annotated[Money | None, Meta(description="for a million tokens of prompt")] = None
    cached_tokens: Annotated[
        Money | None, Meta(description="for a million of them found in the prefix cache; as input_tokens if left out")
    ] = None
    output_tokens: Annotated[Money | None, Meta(description="for a million tokens of answer")] = None
    embeddings: Annotated[Money | None, Meta(description="for a thousand texts embedded")] = None
    documents: Annotated[Money | None, Meta(description="for a thousand documents ranked")] = None
    images: Annotated[Money | None, Meta(description="for each image")] = None
    audio_minutes: Annotated[Money | None, Meta(description="for a minute of audio")] = None
    video_seconds: Annotated[Money | None, Meta(description="for a second of video")] = None
    characters: Annotated[Money | None, Meta(description="for a million characters spoken")] = None
    requests: Annotated[Money | None, Meta(description="for each request")] = None
    slot_hour: Annotated[Money | None, Meta(description="for an hour of one slot of a replica at work")] = None
    cost_plus: Annotated[
        _Percent | None,
        Meta(description="percent added to what its time on a device costs; the default, with 0, if all is left out"),
    ] = None
    mirror: Annotated[
        Annotated[str, Meta(pattern=MARKET_PATTERN, max_length=128)] | None,
        Meta(description="charge what a closed API does, like openai/gpt-4o-mini"),
    ] = None
    discount: Annotated[Annotated[int, Meta(ge=0, le=99)], Meta(description="percent less than what is mirrored")] = 0
    begins: Annotated[Date | None, Meta(description="when it begins, midnight UTC; when it is applied if left out")] = (
        None
    )


class Budget(Section, frozen=True):
    """What a tenant may spend, or all together on a model; any of the periods, all of them hold."""

    day: Annotated[Money | None, Meta(description="dollars a day, midnight to midnight UTC")] = None
    month: Annotated[Money | None, Meta(description="dollars a calendar month, UTC")] = None
    total: Annotated[Money | None, Meta(description="dollars for ever")] = None
    at_limit: Annotated[
        Literal["refuse", "degrade", "notify"],
        Meta(
            description="refuse; degrade to shorter answers while something is left (not for a model); or only notify"
        ),
    ] = "refuse"
    warn: Annotated[
        list[Annotated[int, Meta(ge=1, le=100)]] | None, Meta(description="percent at which the operator is told")
    ] = None
