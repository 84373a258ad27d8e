"""Small documents of the runner's parts: a file, a batch, a video, each as JSON under its id."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One document. `open`: somebody has to go on with it. `tag` and `digest` are what it is looked for by.

    `due_s`: when its time is over, seconds since 1970; 0 for never. `bytes`: its part of what its tenant keeps.
    """

    id: str
    kind: str
    tenant: str
    data: bytes
    tag: str = ""
    digest: str = ""
    open: bool = False
    due_s: int = 0
    bytes: int = 0


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of a list is wanted. `after` is the id of the last one seen, empty for the first page."""

    after: str = ""
    limit: int = 20
    oldest_first: bool = False
    tag: str = ""


class Records(Protocol):
    """Durable when a write returns; reads see every write that has returned. Writes raise Transient on a full disk."""

    async def put(self, record: Record) -> None:
        """Insert, or replace the one of that id."""
        ...

    async def delete(self, name: str) -> None:
        """Forget; of what is not there, nothing."""
        ...

    def get(self, kind: str, tenant: str, name: str) -> Record | None:
        """The one of that id, if it is of that kind and tenant."""
        ...

    def page(self, kind: str, tenant: str, page: Page) -> Sequence[Record]:
        """A part of a tenant's list in the order of making; empty when `after` is not in it."""
        ...

    def open(self, kind: str) -> Sequence[Record]:
        """All that somebody has to go on with, oldest first."""
        ...

    def all(self, kind: str) -> Sequence[Record]:
        """All of a kind, oldest first."""
        ...

    def due(self, kind: str, now_s: int) -> Sequence[Record]:
        """The first thousand whose time is over."""
        ...

    def kept(self, tenant: str = "") -> Mapping[tuple[str, str], int]:
        """The bytes that tenants keep, or one of them, by tenant and kind."""
        ...

    def held(self, kind: str, digest: str) -> bool:
        """Whether any record of a kind refers to these bytes."""
        ...
