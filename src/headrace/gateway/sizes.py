"""How many tokens a text of so many bytes is for each model, learned from what engines counted; for quotes alone.

tokens = a x bytes + b x overhead, with the overhead that the gateway's own estimate allows for turns or inputs; least
squares over the requests this worker has seen, as five sums a model. Until there are enough the estimate stands.
"""

from typing import Final

from headrace.wire.call import Call

SEEN_MIN: Final = 5
MODELS_MAX: Final = 1_000


class Sizes:
    """What one worker has learned."""

    def __init__(self) -> None:
        self._sums: dict[str, list[float]] = {}  # count, bb, bo, oo, bt, ot

    def learn(self, call: Call, tokens: int) -> None:
        """One request whose engine counted its prompt."""
        sums = self._sums.get(call.model)
        if sums is None:
            if len(self._sums) >= MODELS_MAX:
                return
            sums = self._sums[call.model] = [0.0] * 6
        size, overhead = float(call.input_bytes), float(_overhead(call))
        for place, value in enumerate(
            (1.0, size * size, size * overhead, overhead * overhead, size * tokens, overhead * tokens)
        ):
            sums[place] += value

    def tokens(self, call: Call) -> tuple[str, int]:
        """What a call's prompt will probably be counted as, and on what that rests: `learned` or `estimate`.

        >>> from headrace.wire.call import Call
        >>> sizes = Sizes()
        >>> for size in (10, 50, 90, 200, 400):
        ...     call = Call(model="m", task="chat", endpoint="", input_bytes=size, input_tokens=size // 3 + 8)
        ...     sizes.learn(call, size // 5 + 24)
        >>> sizes.tokens(Call(model="m", task="chat", endpoint="", input_bytes=100, input_tokens=100 // 3 + 8))
        ('learned', 44)
        """
        count, bb, bo, oo, bt, ot = self._sums.get(call.model, (0.0,) * 6)
        spread = bb * oo - bo * bo
        if count < SEEN_MIN or spread <= 1e-9 * max(1.0, bb * oo):
            return "estimate", call.input_tokens
        a, b = (bt * oo - ot * bo) / spread, (ot * bb - bt * bo) / spread
        return "learned", max(1, round(a * call.input_bytes + b * _overhead(call)))


def _overhead(call: Call) -> int:
    return max(1, call.input_tokens - call.input_bytes // 3)
