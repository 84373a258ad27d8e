"""How the replicas of a model in a pool behave: what a step and a prompt take there, and how much they can hold.

What a step takes depends on how many sequences it is of and on all the tokens that they look at. For each batch that is
kept as a chain of straight lines over those tokens, worked out when the batch is first seen.
"""

from math import sqrt
from typing import Final

from headrace.policy.performance import Performance

PARTS: Final = 32  # straight lines over a full KV cache; speeds that were measured are straight anyway
Line = tuple[float, float]  # microseconds of a step whose sequences look at nothing, and of each token looked at


class Behaviour:
    """What is alike for all replicas of a model in a pool. `late_us` passes until a token is seen by who asked."""

    __slots__ = ("_lines", "_performance", "_tokens_each", "boot_us", "kv_tokens", "late_us", "slots")

    def __init__(self, performance: Performance, slots: int, boot_us: int) -> None:
        self.slots = slots
        self.kv_tokens = performance.kv_tokens
        self.boot_us = boot_us
        self.late_us = round(performance.first_ns / 1000)
        self._performance = performance
        self._tokens_each = max(1.0, self.kv_tokens / PARTS)
        self._lines: dict[float, list[Line]] = {}

    def line(self, batch: float, looked: float) -> Line:
        """What a step of so many sequences takes, as a line through what it takes near so many tokens looked at."""
        lines = self._lines.get(batch)
        if lines is None:
            lines = self._lines[batch] = self._chain(batch)
        part = int(looked / self._tokens_each)
        return lines[part] if part < PARTS else lines[-1]

    def prompt_us(self, tokens: int, cached: int) -> float:
        """A prompt, alone, of which so many tokens are in the prefix cache."""
        return max(1.0, self._performance.prefill_ns(tokens, max(0, min(cached, tokens - 1))) / 1000)

    def alone_us(self, input_tokens: int, output_tokens: int) -> float:
        """From the first token to the last of a request with nobody beside it."""
        steps = max(0, output_tokens - 1)
        look = input_tokens + output_tokens / 2  # the i-th step looks at the prompt and i tokens of the answer
        base_us, token_us = self.line(1, look)
        return steps * (base_us + token_us * look)

    def _chain(self, batch: float) -> list[Line]:
        each, lines = self._tokens_each, []
        before = self._performance.step_ns(batch, 0.0) / 1000
        for part in range(1, PARTS + 1):
            after = self._performance.step_ns(batch, part * each / batch) / 1000
            slope = (after - before) / each
            lines.append((before - slope * (part - 1) * each, slope))
            before = after
        return lines


def steps_in(passed_us: float, step_us: float, growth_us: float) -> float:
    """How many steps a batch makes in a time, when they take longer and longer.

    Formula: s with t = r s + g s^2 / 2, that is s = 2 t / (r + sqrt(r^2 + 2 g t))
    Units: t microseconds; r what a step takes at first, microseconds; g by how much a step takes longer than the one
        before: each of the batch looks at a token more.
    Assumes: steps grow all the time and not at their ends. With r = a + k (X + n / 2) and g = k n, where the first step
        of n sequences that look at X tokens before it takes a + k (X + n), whole steps take what they take one by one.
    Example: of three sequences with 10, 20 and 30 tokens, 5 us a step and 0.1 us a token, steps take 11.3, 11.6, 11.9.

    >>> round(steps_in(11.3 + 11.6 + 11.9, 5 + 0.1 * (60 + 3 / 2), 0.1 * 3), 9)
    3.0
    """
    return 2.0 * passed_us / (step_us + sqrt(step_us * step_us + 2.0 * growth_us * passed_us))
