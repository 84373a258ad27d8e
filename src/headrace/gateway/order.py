"""What is asked of engines for one request: the body for each, its bounds, and the models that may stand in.

A model that cannot serve a request may name others, or versions (`fallback` in the cloud file); they are tried in
order, once each, as long as the client has been sent nothing. Their worst case is held from the beginning, so that a
budget covers whichever answers.
"""

from collections.abc import Sequence

from headrace.errors import Invalid
from headrace.gateway.directory import StandIn
from headrace.gateway.record import Record


class Order:
    """One request's. `bounds` is the most tokens of answer, of the model that is asked or of any that may stand in."""

    __slots__ = ("_others", "_record", "_rendered", "bounds")

    def __init__(self, record: Record, others: Sequence[StandIn] = ()) -> None:
        self._record = record
        self._others = list(others) if others else []
        self._rendered: tuple[str, str, bytes] | None = None
        self.bounds = 0
        self._measure()

    @property
    def tokens(self) -> int:
        """Estimate of all tokens, in and out, on the high side."""
        return self._record.call.input_tokens + self.bounds

    @property
    def sent_bytes(self) -> int:
        """Of the body last sent."""
        return len(self._rendered[2]) if self._rendered else 0

    def check(self) -> None:
        """What can be known before an engine: that it fits, that it can be said, and its worst case. May raise."""
        record = self._record
        record.call.check_context(record.model.context_tokens)
        self.render(record.model.name)
        self._bind()

    def render(self, upstream_model: str) -> tuple[str, bytes]:
        """Path and body for an engine that knows the model by that name. Raises Invalid."""
        known = self._rendered
        if known is None or known[0] != upstream_model:
            model = self._record.model
            path, body = self._record.call.render(
                model.ability, upstream_model, model.output_tokens_default, model.context_tokens
            )
            self._rendered = known = (upstream_model, path, body)
        return known[1], known[2]

    def shorten(self, nanousd: int) -> bool:
        """Ask for a shorter answer that so much money covers; False when none does."""
        if not self._record.bill.shorten(self._record.call, self._context(), nanousd):
            return False
        self._rendered = None
        self._measure()
        self._bind()
        return True

    def stand_in(self, why: str) -> bool:
        """Turn to the next model that can be asked; False when there is none."""
        record, first = self._record, self._record.model.name
        while self._others:
            other = self._others.pop(0)
            record.model, record.pinned, self._rendered = other.model, other.pinned, None
            try:
                record.call.check_context(record.model.context_tokens)
                self.render(record.model.name)
            except Invalid:
                continue  # it cannot be asked of that one
            record.stands_in_for(other.name, first, why)
            return True
        return False

    def _measure(self) -> None:
        call, model = self._record.call, self._record.model
        self.bounds = call.output_bound(model.output_tokens_default, model.context_tokens)
        for other in self._others:
            bound = call.output_bound(other.model.output_tokens_default, other.model.context_tokens)
            self.bounds = max(self.bounds, bound)

    def _bind(self) -> None:
        self._record.bill.bind(self._record.call, self.bounds, self._context())

    def _context(self) -> int:
        own = self._record.model.context_tokens
        return max(own, *(other.model.context_tokens for other in self._others)) if self._others else own
