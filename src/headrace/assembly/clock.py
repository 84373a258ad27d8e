"""The clock of every process that is not in virtual time."""

import time


class SystemClock:
    """The machine's clocks."""

    def now_us(self) -> int:
        """Microseconds since 1970."""
        return time.time_ns() // 1_000

    def monotonic_us(self) -> int:
        """Microseconds since boot, the same for all processes of this machine."""
        return time.monotonic_ns() // 1_000
