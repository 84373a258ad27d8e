"""Which models are divided between two pools, kept beyond the controller's life, so that its successor goes on so.

One small value. It is written in the round in which it changes, since a controller may be killed at any time.
"""

from typing import Final

import msgspec

from headrace import telemetry
from headrace.errors import Transient
from headrace.policy.choice import Choices
from headrace.ports import Store
from headrace.state.divided import Divided

_NAME: Final = "divided"
_Kept = dict[str, Divided]


class Divisions:
    """Reads and writes what `Choices` has divided."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._written: _Kept = {}
        self._failed: _Kept | None = None

    def recall(self, choices: Choices, now_us: int) -> None:
        """As an earlier controller left it. What cannot be read is told, and chosen anew."""
        kept = self._store.get(_NAME)
        if kept is None:
            return
        try:
            self._written = msgspec.json.decode(kept, type=_Kept)
        except msgspec.MsgspecError as error:
            telemetry.logger().error("divided.unread", reason=str(error))
            return
        choices.recall(self._written, now_us)

    def keep(self, choices: Choices) -> None:
        """Write it if it has changed. A full disk only delays it."""
        made = choices.divided
        if made == self._written:
            return
        try:
            self._store.put(_NAME, msgspec.json.encode(made))
        except Transient as error:
            if made != self._failed:
                telemetry.logger().error("divided.not_kept", reason=error.message)
            self._failed = made
            return
        self._written, self._failed = made, None
