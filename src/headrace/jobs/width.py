"""How many requests of a batch are out at once: as many as make good use of what is idle, and no more. Pure.

Kleinrock's power, throughput over response time, tells when a queue is well used: by Little's law it is the square of
the throughput over the width. So twice as many at once must do at least 1.4 times as many lines a second, else those
that ask now only wait longer for an engine that is full. Windows of answers are measured in turn at the width that is
held and at one a third away; the better one is held. Lines that wait in the gateway longer than they are worked on make
it narrower, and being told to come back halves it.

While people ask (the gateway tells with each answer how many of their requests are at work) a batch takes a tenth of
that width: less than one request at a time is one with pauses. It stops giving way when it would not be done in time.
"""

from typing import Final

START: Final = 2
WIDTH_MAX: Final = 64
ROUNDS: Final = 4  # answers in a window, of each request that is out
WINDOW_US: Final = 500_000
PAUSE_US: Final = 500_000  # when the gateway does not say how long
SHARE: Final = 0.1  # of the width, while people ask
ASKED_US: Final = 1_000_000  # for so long after they were seen


class Width:
    """The width of one batch. Moments are microseconds of any one clock."""

    def __init__(self) -> None:
        self.now = START
        self.resume_us = 0
        self.hurried = False  # it would not be done in time if it gave way
        self._asked_us = -ASKED_US  # when a person's request was last seen at work
        self._held, self._held_rate = START, 0.0  # 0: not measured yet
        self._up = True
        self._stale = self._count = self._began_us = self._queue_us = self._work_us = 0

    def room(self, out: int, now_us: int) -> bool:
        """Whether one more may be sent beside those that are out."""
        if now_us < self.resume_us:
            return False
        return out < (max(1, int(self.now * SHARE)) if self._gives_way(now_us) else self.now)

    def answered(self, now_us: int, queue_us: int, took_us: int, urgent: int = 0) -> None:
        """A request was answered; of its time it waited so long in the gateway, where `urgent` others were at work."""
        if urgent:
            self._asked_us = now_us
        if self._gives_way(now_us):
            rest = 1 / (self.now * SHARE) - 1
            if rest > 0:
                self.resume_us = max(self.resume_us, now_us + int(rest * (took_us - queue_us)))
            self._try(self._held)  # what is measured now is not what the engine can do
            return
        if self._stale > 0:  # it was sent when the width was another one
            self._stale -= 1
            self._began_us = now_us
            return
        self._began_us = self._began_us or now_us - took_us
        self._count += 1
        self._queue_us += queue_us
        self._work_us += took_us - queue_us
        if self._count >= ROUNDS * self.now and now_us - self._began_us >= WINDOW_US:
            self._judge(self._count / (now_us - self._began_us))

    def pushed_back(self, now_us: int, wait_us: int) -> None:
        """The gateway asked to come back; several at once are one push."""
        if now_us >= self.resume_us:
            self._hold(max(1, self.now // 2), 0.0)
            self._try(self._held)
        self.resume_us = max(self.resume_us, now_us + (wait_us or PAUSE_US))

    def _gives_way(self, now_us: int) -> bool:
        return not self.hurried and now_us - self._asked_us < ASKED_US

    def _judge(self, rate: float) -> None:
        """A window is over."""
        if self._queue_us > self._work_us:
            self._up = False
            self._hold(_next(self.now, up=False), 0.0)
            self._try(self._held)
        elif self.now == self._held or rate**2 * self._held >= self._held_rate**2 * self.now:
            self._hold(self.now, rate)
            self._try(_next(self.now, up=self._up))
        else:
            self._up = not self._up
            self._try(self._held)

    def _hold(self, width: int, rate: float) -> None:
        self._held, self._held_rate = width, rate

    def _try(self, width: int) -> None:
        """Begin a window."""
        self._up = True if width == 1 else self._up
        self._stale = self.now if width != self.now else 0
        self.now = width
        self._count = self._began_us = self._queue_us = self._work_us = 0


def _next(width: int, *, up: bool) -> int:
    """A third more or less, one at least."""
    step = max(1, width // 3)
    return min(width + step, WIDTH_MAX) if up else max(width - step, 1)
