"""What an exchange needs of the worker it runs in: its parts, and what to do beside. The worker is one such desk."""

import asyncio
from collections.abc import Coroutine, Iterable, MutableMapping
from typing import Any, Protocol

from headrace.gateway.directory import Directory
from headrace.gateway.limits import Meter
from headrace.gateway.link import Link
from headrace.gateway.purse import Wallet
from headrace.gateway.shared import Counters
from headrace.policy.actions import Answer, Assign
from headrace.policy.dispatch import Dispatch
from headrace.ports import Clock, Journal


class Acting(Protocol):
    """A request at work, as its worker sees it."""

    def act(self, answer: Answer) -> None:
        """Carry out a decision."""
        ...

    def tick(self, now_us: int) -> None:
        """Time has passed."""
        ...


class Desk(Protocol):
    """One worker's parts."""

    clock: Clock
    counters: Counters
    directory: Directory
    dispatch: Dispatch
    epoch: str
    exchanges: MutableMapping[str, Acting]
    journal: Journal
    link: Link
    meter: Meter
    wallet: Wallet

    def act_all(self, found: Iterable[Answer]) -> None:
        """Carry out decisions about other requests."""
        ...

    def look_around(self, now_us: int) -> None:
        """See what the other workers have at work, if that was not done just now."""
        ...

    def faulty(self, assign: Assign) -> None:
        """A replica failed under a request."""
        ...

    def stored(self, done: bool) -> None:
        """Whether the last record could be written."""
        ...

    def spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Run something beside."""
        ...
