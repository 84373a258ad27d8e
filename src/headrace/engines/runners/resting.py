"""How a runner sleeps: it lets go of its weights and keeps its process, its libraries and what it knows of the model.

The host asks by signals, since a runner that sleeps may have no server: SIGUSR1 to sleep, SIGUSR2 to wake. It answers
on standard output, `{"asleep": true}` and `{"ready": true}`.
"""

import gc
import json
import signal
from typing import Final, Protocol

SLEEP: Final = signal.SIGUSR1
WAKE: Final = signal.SIGUSR2


class Rests(Protocol):
    """What of a runner can sleep. Called in the thread that serves, with nothing at work."""

    def sleep(self) -> None:
        """Let go of the weights."""
        ...

    def wake(self) -> None:
        """Load them again; when this returns, the first request is as quick as any."""
        ...


def give_back() -> None:
    """Have what was let go reach the kernel: allocators keep freed memory otherwise."""
    import ctypes

    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
    if trim is not None:
        trim(0)


def say_asleep() -> None:
    """The line that the host waits for."""
    print(json.dumps({"asleep": True}), flush=True)
