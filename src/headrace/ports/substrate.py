"""Who runs processes, and what it says of them."""

from collections.abc import AsyncIterator
from typing import Literal, Protocol

import msgspec

from headrace.state.fleet import Device


class Post(msgspec.Struct, frozen=True):
    """One POST to a worker's own server; `body` is JSON, or nothing."""

    path: str
    body: str = ""


class Rest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a worker is put to sleep and woken: by these requests in order; by signals, where there are none.

    SIGUSR1 asks it to sleep, and it prints `{"asleep": true}` when it does; SIGUSR2 to wake, and it prints its ready
    line.
    """

    sleep: tuple[Post, ...] = ()
    wake: tuple[Post, ...] = ()


class WorkerSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One process to keep running. `id` carries the spec's digest: a changed spec is a new id.

    `labels` are kept and given back by `workers`, so that a new controller can adopt what runs. `memory_bytes` is an
    upper bound used for the address-space limit where the platform has one. `rest` is None for one that cannot sleep.
    """

    id: str
    argv: tuple[str, ...]
    env: dict[str, str] = {}
    address: str = ""
    ready_path: str = ""
    start_timeout_us: int = 120_000_000
    fast_crashes_max: int = 3
    memory_bytes: int = 0
    labels: dict[str, str] = {}
    rest: Rest | None = None


class WorkerStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a worker is doing. `incarnation` is new at every start of its process, and whenever it falls asleep or
    begins to wake; late news of an old one is dropped. `woken`: it was asleep before.

    Moments in microseconds of the wall clock. `exit` says how the last incarnation ended.
    """

    id: str
    phase: Literal["pending", "starting", "ready", "failed", "stopped", "asleep", "waking"]
    incarnation: str = ""
    address: str = ""
    pid: int = 0
    restarts: int = 0
    started_us: int = 0
    ready_us: int = 0
    reason: str = ""
    labels: dict[str, str] = {}
    woken: bool = False


class Substrate(Protocol):
    """Runs workers. `launch` and `stop` are idempotent by id; restart with back-off is the substrate's own."""

    async def start(self) -> None:
        """Connect. Workers launched before, by whomever, are found by `workers`."""
        ...

    async def close(self) -> None:
        """Let go of the workers; they run on."""
        ...

    async def devices(self) -> list[Device]:
        """What the substrate sees by itself: at least one CPU device. Pools of the catalog refine it."""
        ...

    async def launch(self, spec: WorkerSpec) -> None:
        """Returns when the wish is recorded, not when the worker is ready."""
        ...

    async def stop(self, worker: str, grace_us: int) -> None:
        """SIGTERM, then SIGKILL after the grace; forgets the worker. Returns at once; `watch` tells the end."""
        ...

    async def kill(self, worker: str, incarnation: str, reason: str) -> None:
        """SIGKILL one incarnation, which is hung; the substrate starts the next one."""
        ...

    async def sleep(self, worker: str, incarnation: str) -> None:
        """Have one incarnation that is ready sleep; nothing when it is another, or cannot. `watch` tells when it does.

        One that does not in time is killed, and started anew. One that dies asleep is stopped: nobody waits for it.
        """
        ...

    async def wake(self, worker: str, incarnation: str) -> None:
        """Have one that sleeps wake: `waking`, then `ready`. One that is not ready in time is started anew."""
        ...

    async def workers(self) -> list[WorkerStatus]:
        """The truth, for reconciliation."""
        ...

    def watch(self) -> AsyncIterator[WorkerStatus]:
        """All workers first, then changes; may repeat and skip, never goes back in incarnation."""
        ...

    async def logs(self, worker: str, tail: int = 200) -> list[str]:
        """The last lines the worker printed."""
        ...
