"""The time, as shells are told it."""

from typing import Protocol


class Clock(Protocol):
    """Tells the time. Only shells hold one; brains are given moments."""

    def now_us(self) -> int:
        """Wall clock, microseconds since 1970; for records."""
        ...

    def monotonic_us(self) -> int:
        """Never goes back; for durations and deadlines. On Linux the same for all processes since boot."""
        ...
