"""An answer and the shadow's answer to its copy, kept for as long as it takes to compare them, and then forgotten.

Each side keeps at most `ANSWER_BYTES_MAX` in memory; with more, with an error of the original, or when its client left
before the end, nothing is compared. What is written to the journal are scores.
"""

from collections.abc import Callable
from typing import Final

from headrace.policy import likeness
from headrace.state.likeness import Likeness
from headrace.wire import said
from headrace.wire.call import Call
from headrace.wire.said import Said

ANSWER_BYTES_MAX: Final = 256 << 10


class Heard:
    """One side's answer, as its client is sent it. `over` is called when it has ended; `none`: with an error."""

    __slots__ = ("_bytes", "_over", "_parts", "answer", "none")

    def __init__(self, over: Callable[[], None]) -> None:
        self._over = over
        self._parts: list[bytes] = []
        self._bytes = 0
        self.answer: Said | None = None
        self.none = False

    def event(self, data: bytes) -> None:
        """A piece of a stream."""
        self._bytes += len(data)
        if self._bytes <= ANSWER_BYTES_MAX:
            self._parts.append(data)
        else:
            self._parts.clear()

    def ended(self, broken: bool) -> None:
        """The stream, all of which was heard as pieces, is over."""
        self.none = broken
        if not broken and self._bytes <= ANSWER_BYTES_MAX:
            self.answer = said.streamed(b"".join(self._parts))
        self._parts = []
        self._over()

    def whole(self, body: bytes) -> None:
        """A whole answer."""
        if len(body) <= ANSWER_BYTES_MAX:
            self.answer = said.whole(body)
        self._over()

    def failed(self) -> None:
        """There is none."""
        self.none = True
        self._over()


class Comparison:
    """Both sides. `done` gets the scores once both have ended, unless there is nothing to compare.

    `against` tells the version that answered the original, empty when the comparison would say nothing.
    """

    __slots__ = ("_against", "_at_us", "_call", "_done", "_left", "_watched", "copy", "original")

    def __init__(
        self,
        call: Call,
        watched: tuple[str, str],
        at_us: int,
        against: Callable[[], str],
        done: Callable[[Likeness], None],
    ) -> None:
        self._call, self._watched, self._at_us = call, watched, at_us
        self._against, self._done = against, done
        self._left = 2
        self.original = Heard(self._over)
        self.copy = Heard(self._over)

    def _over(self) -> None:
        self._left -= 1
        if self._left:
            return
        old, new, against = self.original.answer, self.copy.answer, self._against()
        self.original.answer = self.copy.answer = None
        model, version = self._watched
        if old is None or against in ("", version):
            return
        if new is None and self.copy.none:
            self._done(Likeness(model=model, version=version, against=against, at_us=self._at_us, failed=True))
        if new is None:
            return
        old_valid, new_valid = said.valid(old, self._call), said.valid(new, self._call)
        self._done(
            Likeness(
                model=model,
                version=version,
                against=against,
                at_us=self._at_us,
                score=likeness.score(old, new),
                edit=likeness.similarity(old, new),
                same=likeness.same(old, new),
                ended=old.ended == new.ended,
                old_size=likeness.size(old),
                new_size=likeness.size(new),
                checked=old_valid is not None and new_valid is not None,
                old_valid=bool(old_valid),
                new_valid=bool(new_valid),
            )
        )
