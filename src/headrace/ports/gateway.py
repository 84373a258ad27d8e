"""What each gateway writes beside itself: its journal, and answers kept for an Idempotency-Key."""

from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from headrace.state.usage import Entry


class Journal(Protocol):
    """A gateway's durable end: append-only, group commit, one file a worker process."""

    def append(self, entry: Entry, committed: Callable[[bool], None] | None = None) -> None:
        """Append; `committed(True)` is called in the caller's loop once it is on disk, `False` if it cannot be."""
        ...

    async def close(self) -> None:
        """Commit what is pending and close."""
        ...


IDEMPOTENCY_KEY_BYTES_MAX: Final = 255
SMALL_BYTES_MAX: Final = 256 << 10  # of an answer that is kept for anybody


def repeat_name(tenant: str, path: str, once: str) -> str:
    """What an Idempotency-Key is remembered under: it is bound to its tenant and its path."""
    return f"{tenant}\0{path}\0{once}"


class Repeat(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the first request of an Idempotency-Key. `body` is its answer, None when that was not kept."""

    digest: str
    request: str
    done: bool
    body: bytes | None = None


class Repeats(Protocol):
    """Requests that must not be done twice, remembered for a day by all gateways of this machine."""

    def begin(self, name: str, digest: str, request: str, now_us: int) -> Repeat | None:
        """None: the caller does the work, and says `done` or `drop`. Else what is known of the first one."""
        ...

    def done(
        self, name: str, digest: str, request: str, now_us: int, body: bytes | None, *, large: bool = False
    ) -> None:
        """The answer, or None when it was a stream. One above SMALL_BYTES_MAX is kept if `large`, until `release`."""
        ...

    def drop(self, name: str) -> None:
        """It came to nothing: the next one may try."""
        ...

    def release(self, name: str) -> None:
        """Who asked has the answer for good: a large one need not be kept here any longer."""
        ...

    def sweep(self, now_us: int) -> None:
        """Forget what is older than a day."""
        ...
