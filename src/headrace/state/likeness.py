"""How alike the answers of two versions to one request were: scores of a pair, and sums over pairs. No text of either.

A score is from 0, nothing in common, to 1, the same.
"""

import msgspec


class Likeness(msgspec.Struct, frozen=True, kw_only=True, tag="likeness", omit_defaults=True):
    """One pair: what `version` said to a copy of a request that `against` had answered.

    `score` is by task: shared words (F1), the mean cosine of vectors, the rank correlation of rankings. `edit` is the
    similarity by word edits. `same`: word for word, and the same calls. `ended`: for the same reason. `old_size` and
    `new_size` are words, vectors or ranks. `checked`: the request gave a schema or tools, and `old_valid` and
    `new_valid` tell who kept to them. `failed`: the copy had no answer; then nothing else is told.
    """

    model: str
    version: str
    against: str
    at_us: int
    score: float = 0.0
    edit: float = 0.0
    same: bool = False
    ended: bool = False
    old_size: int = 0
    new_size: int = 0
    checked: bool = False
    old_valid: bool = False
    new_valid: bool = False
    failed: bool = False


class Agreement(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Sums over pairs, and sums of squares of the scores; `failed` ones count as pairs with a score of 0."""

    pairs: int = 0
    failed: int = 0
    same: int = 0
    ended: int = 0
    checked: int = 0
    old_valid: int = 0
    new_valid: int = 0
    score: float = 0.0
    score_sq: float = 0.0
    edit: float = 0.0
    edit_sq: float = 0.0
    old_size: int = 0
    new_size: int = 0

    def plus(self, pair: Likeness) -> "Agreement":
        """With one more pair."""
        return Agreement(
            pairs=self.pairs + 1,
            failed=self.failed + pair.failed,
            same=self.same + pair.same,
            ended=self.ended + pair.ended,
            checked=self.checked + pair.checked,
            old_valid=self.old_valid + pair.old_valid,
            new_valid=self.new_valid + pair.new_valid,
            score=self.score + pair.score,
            score_sq=self.score_sq + pair.score**2,
            edit=self.edit + pair.edit,
            edit_sq=self.edit_sq + pair.edit**2,
            old_size=self.old_size + pair.old_size,
            new_size=self.new_size + pair.new_size,
        )
