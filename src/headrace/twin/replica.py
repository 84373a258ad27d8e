"""One simulated replica: continuous batching in virtual time, two events a request.

Prompts are worked off one after the other, from the end of the step under way on, and stop the others' output
meanwhile; between prompts all sequences of the batch gain tokens together, one a step. A counter of steps stands for
everybody's progress, so that an end is known as a reading of the counter when a sequence joins, whatever the batch does
until then; a second counter adds up one sequence's share of the time, which is what a request cost.
"""

import heapq
from collections import deque
from collections.abc import Sequence
from math import ceil
from typing import Final

from headrace.twin.prefixes import Kept

NEVER: Final = 1 << 62
_WHOLE: Final = 1e-9  # of a step, which is none


class Behaviour:
    """What is alike for all replicas of a model in a pool. `step_us[n]` is a step of n sequences, microseconds.

    `late_us` passes beside it until a token is seen by who asked.
    """

    __slots__ = ("boot_us", "kv_tokens", "late_us", "slots", "step_us")

    def __init__(self, step_us: Sequence[float], slots: int, kv_tokens: int, boot_us: int, late_us: int = 0) -> None:
        assert len(step_us) > slots, "a step for every batch"
        self.step_us = list(step_us)
        self.slots = slots
        self.kv_tokens = kv_tokens
        self.boot_us = boot_us
        self.late_us = late_us


class SimReplica:
    """Sequences and prompts of one replica; `due_us` is when something happens next, if nothing is added."""

    __slots__ = ("_at_us", "_batch", "_behaviour", "_prompt", "_prompts", "_share", "_steps",
                 "busy_us", "due_us", "ends", "id", "kept", "stamp")  # fmt: skip

    def __init__(self, name: str, behaviour: Behaviour, now_us: int) -> None:
        self.id = name
        self._behaviour = behaviour
        self._at_us = float(now_us)
        self._steps = 0.0
        self._share = 0.0
        self._batch = 0
        self._prompt: tuple[int, int] | None = None  # whose prompt is worked off, and how many tokens follow
        self._prompts: deque[tuple[int, int, float]] = deque()
        self.ends: list[tuple[float, int, float]] = []  # reading at the end, request, share when it joined
        self.kept = Kept(behaviour.kv_tokens // 2)
        self.busy_us = 0.0
        self.due_us: float = NEVER
        self.stamp = 0

    @property
    def late_us(self) -> int:
        """What passes until a token is seen by who asked."""
        return self._behaviour.late_us

    @property
    def running(self) -> int:
        """Requests here."""
        return self._batch + len(self._prompts) + (self._prompt is not None)

    def requests(self) -> list[int]:
        """Who is here, in no order that matters."""
        found = [request for _, request, _ in self.ends] + [request for request, _, _ in self._prompts]
        return found if self._prompt is None else [*found, self._prompt[0]]

    def add(self, request: int, prompt_us: float, output_tokens: int, now_us: float) -> None:
        """A request arrives; its prompt waits for those before it."""
        if self._prompt is not None:
            self._prompts.append((request, output_tokens, prompt_us))
            return
        self._advance(now_us)
        self._begin(request, output_tokens, self._finish_step() + prompt_us)

    def happen(self, now_us: float) -> tuple[int, int, float]:
        """What is due: (request whose first token is out or -1, request that has ended or -1, its share of time)."""
        self._advance(now_us)
        if self._prompt is None:
            _, request, joined = heapq.heappop(self.ends)
            self._batch -= 1
            self._next()
            return -1, request, self._share - joined
        request, output_tokens = self._prompt
        self._prompt = None
        if output_tokens > 1:
            heapq.heappush(self.ends, (self._steps + output_tokens - 1, request, self._share))
            self._batch += 1
        if self._prompts:
            self._begin(*self._prompts.popleft())
        else:
            self._next()
        return request, request if output_tokens <= 1 else -1, 0.0

    def _advance(self, now_us: float) -> None:
        passed = now_us - self._at_us
        if passed > 0:
            if self._prompt is not None:
                self.busy_us += passed
            elif self._batch:
                self._steps += passed / self._behaviour.step_us[self._batch]
                self._share += passed / self._batch
                self.busy_us += passed
        self._at_us = now_us

    def _finish_step(self) -> float:
        """Everybody has the token of the step under way; how long that takes. Newcomers come in between steps."""
        rest = ceil(self._steps - _WHOLE) - self._steps
        if not self._batch or rest <= 0:
            return 0.0
        wait = rest * self._behaviour.step_us[self._batch]
        self._steps += rest
        self._share += wait / self._batch
        return wait

    def _begin(self, request: int, output_tokens: int, prompt_us: float) -> None:
        self._prompt = (request, output_tokens)
        self.due_us = self._at_us + prompt_us
        self.stamp += 1

    def _next(self) -> None:
        self.stamp += 1
        if self.ends:
            left = self.ends[0][0] - self._steps
            self.due_us = self._at_us + max(0.0, left) * self._behaviour.step_us[self._batch]
        else:
            self.due_us = NEVER
