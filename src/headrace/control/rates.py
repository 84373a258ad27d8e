"""The work of a request of each model, from what its replicas' requests taught: for gateways to count, and for sizing.

A rate is told once enough requests were seen, and told anew when half as many more were: gateways get a new table with
each change of it.
"""

import math
from typing import Final

from headrace.control.books import Books
from headrace.economics.work import SAMPLES_MIN
from headrace.policy import capacity
from headrace.policy.performance import Measured
from headrace.specs.catalog import ModelSpec
from headrace.state.work import WorkRate

INPUT_TOKENS: Final = 256  # the mean prompt, before the outlook on a model's own requests is known
OUTPUT_TOKENS: Final = 128


class Rates:
    """Rates by model version."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._told: dict[str, tuple[int, WorkRate | None]] = {}

    def of(self, model: ModelSpec) -> WorkRate | None:
        """The work of a request; None for tasks without tokens, and while too little was seen."""
        if model.task != "chat" or not model.owned:
            return None
        learned = self._books.model(model.key)
        if learned.samples < SAMPLES_MIN or not learned.prefill_ns or learned.residual_ppm < 0:
            return None
        age = int(2 * math.log2(learned.samples))
        told = self._told.get(model.key)
        if told is None or told[0] != age:
            told = self._told[model.key] = age, self._rate(model)
        return told[1]

    def engine(self, model: ModelSpec) -> Measured:
        """How a model's replicas run, as learned."""
        return Measured(self._books.model(model.key), model.engine.slots * model.engine.context_tokens)

    def _rate(self, model: ModelSpec) -> WorkRate | None:
        engine, slots = self.engine(model), model.engine.slots
        at = capacity.point(engine, INPUT_TOKENS, OUTPUT_TOKENS, model.objective.tpot_us, slots)
        if at is None:  # it never keeps its objective; what it can do with all slots is the best there is
            at = capacity.point(engine, INPUT_TOKENS, OUTPUT_TOKENS, 1 << 40, slots)
        return None if at is None else capacity.rate(engine, at, INPUT_TOKENS)
