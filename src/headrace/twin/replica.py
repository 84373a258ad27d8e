"""One simulated replica: continuous batching in virtual time, two events a request.

Prompts are worked off one after the other, from the end of the step under way on, and stop the others' output
meanwhile; between prompts all sequences of the batch gain tokens together, one a step. A counter of steps stands for
everybody's progress, so that an end is known as a reading of the counter when a sequence joins, whatever the batch does
until then. A step takes what its sequences really look at: a + k X, with X the tokens of all their contexts, each of
which is one longer at every step.

    X = A + n s,    A = sum over the batch of (input tokens - reading of the counter when it joined)

so that X is known from the counter, too. What a request cost is its share of each step, a / n + k x with x its own
context; two more counters add that up for all of them at once. A prompt begins when it and its answer fit into the KV
cache beside those who are there, or when nobody is.
"""

import heapq
from collections import deque
from math import ceil
from typing import Final

from headrace.twin.behaviour import Behaviour, steps_in
from headrace.twin.prefixes import Kept

NEVER: Final = 1 << 62
_WHOLE: Final = 1e-9  # of a step, which is none

Prompt = tuple[int, float, int, int]  # request, time, input tokens, output tokens
End = tuple[float, int, float, float, int]  # reading, request, its part of A, its share when it joined, tokens held


class SimReplica:
    """Sequences and prompts of one replica; `due_us` is when something happens next, if nothing is added."""

    __slots__ = ("_ahead", "_at_us", "_base_us", "_batch", "_behaviour", "_common_us", "_held", "_look_us", "_prompt",
                 "_prompts", "_room", "_steps", "_token_us", "busy_us", "due_us", "ends", "id", "kept",
                 "stamp")  # fmt: skip

    def __init__(self, name: str, behaviour: Behaviour, now_us: int) -> None:
        self.id = name
        self._behaviour = behaviour
        self._at_us = float(now_us)
        self._steps = 0.0  # always whole: who comes or goes does so between steps
        self._batch = 0.0
        self._ahead = 0.0  # A and n / 2: what steps look at is this and n times the counter, half a step on
        self._base_us = self._token_us = 0.0  # a and k of the batch as it is
        self._common_us = 0.0  # the sum of a / n + k s over all steps until now
        self._look_us = 0.0  # and of k: somebody's share is the first and its A times the second
        self._room = behaviour.kv_tokens
        self._held = 0  # of it, tokens that are promised
        self._prompt: Prompt | None = None  # that is worked off
        self._prompts: deque[Prompt] = deque()
        self.ends: list[End] = []
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
        return len(self.ends) + len(self._prompts) + (self._prompt is not None)

    def requests(self) -> list[int]:
        """Who is here, in no order that matters."""
        found = [one[1] for one in self.ends] + [one[0] for one in self._prompts]
        return found if self._prompt is None else [*found, self._prompt[0]]

    def prompt_us(self, tokens: int, cached: int) -> float:
        """What a prompt takes here of which so many tokens are kept."""
        return self._behaviour.prompt_us(tokens, cached)

    def add(self, request: int, prompt_us: float, input_tokens: int, output_tokens: int, now_us: float) -> None:
        """A request arrives; its prompt waits for those before it, for room, and for the end of the step under way."""
        prompt, tokens = (request, prompt_us, input_tokens, output_tokens), input_tokens + output_tokens
        if self._prompt is not None or self._prompts or (self._held and self._held + tokens > self._room):
            self._prompts.append(prompt)
            return
        wait_us = self._finish_step(now_us) if self.ends else 0.0
        if wait_us < 0:
            self._prompts.append(prompt)
            return
        self._at_us = now_us
        self._prompt = prompt
        self._held += tokens
        self.due_us = now_us + (wait_us + prompt_us)
        self.stamp += 1

    def happen(self, now_us: float) -> tuple[int, int, float]:
        """What is due: (request whose first token is out or -1, request that has ended or -1, its share of time)."""
        self.busy_us += now_us - self._at_us
        self._at_us = now_us
        if self._prompt is None:
            reading, request, ahead, joined_us, tokens = heapq.heappop(self.ends)
            self._write(reading - self._steps)
            self._batch -= 1.0
            self._ahead -= ahead
            self._held -= tokens
            self._go_on()
            return -1, request, self._common_us + ahead * self._look_us - joined_us
        request, _, input_tokens, output_tokens = self._prompt
        self._prompt = None
        if output_tokens > 1:
            ahead = float(input_tokens) - self._steps + 0.5
            joined_us = self._common_us + ahead * self._look_us
            one = (self._steps + float(output_tokens - 1), request, ahead, joined_us, input_tokens + output_tokens)
            heapq.heappush(self.ends, one)
            self._batch += 1.0
            self._ahead += ahead
            self._go_on()
            return request, -1, 0.0
        self._held -= input_tokens + output_tokens
        self._go_on()
        return request, request, 0.0

    def _finish_step(self, now_us: float) -> float:
        """Everybody has the token of the step under way; how long that takes from now on. -1 if it is somebody's last:
        nothing has happened then, and what is due is due.
        """
        passed, growth_us = now_us - self._at_us, self._token_us * self._batch
        step_us = self._base_us + self._token_us * self._ahead + growth_us * self._steps
        steps = float(ceil(steps_in(passed, step_us, growth_us) - _WHOLE)) if passed > 0 else 0.0
        if self._steps + steps >= self.ends[0][0]:
            return -1.0
        self.busy_us += passed
        self._write(steps)
        return max(0.0, steps * (step_us + growth_us * steps * 0.5) - passed)

    def _write(self, steps: float) -> None:
        """Everybody gains so many tokens."""
        look_us = self._token_us * steps
        self._common_us += self._base_us * steps / self._batch + look_us * (self._steps + steps * 0.5)
        self._look_us += look_us
        self._steps += steps

    def _go_on(self) -> None:
        """Who has ended, the next prompt if there is room for it, or all of the batch."""
        self.stamp += 1
        if self._prompts and not (self.ends and self.ends[0][0] <= self._steps):
            _, prompt_us, input_tokens, output_tokens = prompt = self._prompts[0]
            tokens = input_tokens + output_tokens
            if not self._held or self._held + tokens <= self._room:
                self._prompts.popleft()
                self._prompt = prompt
                self._held += tokens
                self.due_us = self._at_us + prompt_us
                return
        if self.ends:
            left, batch = self.ends[0][0] - self._steps, self._batch
            looked = self._ahead + batch * (self._steps + left * 0.5)  # in the mean until then
            self._base_us, self._token_us = line = self._behaviour.line(batch, looked)
            self.due_us = self._at_us + left * (line[0] + line[1] * looked)
        else:
            self.due_us = NEVER
