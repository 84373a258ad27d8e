"""Tenants in the cloud file as they are written: who may use what, at which price, and how much of it."""

from typing import Annotated, Literal

from msgspec import Meta

from headrace.specs.literals import Duration, Name, Reference, Size
from headrace.specs.section import Budget, Price, Section

_PerMinute = Annotated[int, Meta(ge=1, le=10**12)]


class Limits(Section, frozen=True):
    """What one key may do; left out means no limit."""

    requests_per_minute: Annotated[_PerMinute | None, Meta(description="requests in any minute")] = None
    tokens_per_minute: Annotated[_PerMinute | None, Meta(description="tokens, in and out, in any minute")] = None
    concurrency: Annotated[
        Annotated[int, Meta(ge=1, le=1_000_000)] | None, Meta(description="requests at the same time")
    ] = None


class Tenant(Section, frozen=True):
    """Who may use what."""

    models: Annotated[
        list[Literal["*"] | Name] | None, Meta(description='names of models, or "*" for all; all when left out')
    ] = None
    limits: Annotated[Limits, Meta(description="the default of each key of the tenant")] = Limits()
    keys: Annotated[
        list[Reference] | None,
        Meta(description="keys made elsewhere, as references; most are made with `headrace key create`"),
    ] = None
    prices: Annotated[
        dict[Name, Price] | None, Meta(description="its own prices, by model; the models' when left out")
    ] = None
    budget: Annotated[Budget | None, Meta(description="what it may spend; no limit when left out")] = None
    weight: Annotated[
        int,
        Meta(ge=1, le=100, description="its share of a model's time while others wait, too, relative to theirs"),
    ] = 1
    storage: Annotated[
        Size, Meta(description="how much its files, videos, stored responses and large results of runs may be together")
    ] = "20GiB"
    keep_runs: Annotated[
        Duration, Meta(description="how long a pipeline's run is kept after its end, with its results")
    ] = "30d"
