"""How many requests of a batch are out at once: as many as idle capacity answers without a queue. Pure.

The gateway serves batch work last and tells how long it held each request. No wait means idle slots, so one more is
sent; a wait as long as the work itself means that all slots are taken, so one less. Being told to come back halves it:
additive increase, multiplicative decrease, as TCP does.
"""

from typing import Final

START: Final = 4.0
WIDTH_MAX: Final = 64.0
PAUSE_US: Final = 500_000  # when the gateway does not say how long


class Width:
    """The width of one batch. Moments are microseconds of any one clock."""

    def __init__(self) -> None:
        self._width = START
        self._climbing = True  # doubling until the first wait is seen
        self.resume_us = 0

    @property
    def now(self) -> int:
        """At least one."""
        return int(self._width)

    def answered(self, queue_us: int, took_us: int) -> None:
        """A request was answered; of its time it waited so long in the gateway."""
        work_us = max(took_us - queue_us, 1)
        if queue_us < work_us >> 2:
            self._width += 1.0 if self._climbing else 1.0 / self._width
        elif queue_us > work_us:
            self._climbing = False
            self._width -= 1.0 / self._width
        self._width = min(max(self._width, 1.0), WIDTH_MAX)

    def pushed_back(self, now_us: int, wait_us: int) -> None:
        """The gateway asked to come back; several at once are one push."""
        self._climbing = False
        if now_us >= self.resume_us:
            self._width = max(1.0, self._width / 2)
        self.resume_us = max(self.resume_us, now_us + (wait_us or PAUSE_US))
