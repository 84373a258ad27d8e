"""When models are used, kept beyond the controller's life: the gaps that keep-alive learned, in the store.

One small value, bounded by the models there are: histograms of fixed size, of which only bins with weight are written.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from headrace import telemetry
from headrace.errors import Transient
from headrace.policy.keepalive import Keepalive
from headrace.ports import Store
from headrace.state.gaps import Gaps

_NAME: Final = "gaps"
_Kept = dict[str, dict[int, float]]


class Habits:
    """Reads and writes what a `Keepalive` has learned."""

    def __init__(self, store: Store, keepalive: Keepalive) -> None:
        self._store = store
        self._keepalive = keepalive
        self._written: bytes = b""

    def recall(self) -> None:
        """What an earlier controller learned. What cannot be read is told, and learned anew."""
        kept = self._store.get(_NAME)
        if kept is None:
            return
        try:
            found = msgspec.json.decode(kept, type=_Kept)
            self._keepalive.gaps.update({key: Gaps.of(bins) for key, bins in found.items()})
        except (msgspec.MsgspecError, ValueError) as error:
            telemetry.logger().error("gaps.unread", reason=str(error))
            return
        self._written = kept

    def keep(self, keys: Iterable[str]) -> None:
        """Write what is known of these models, if it has changed. A full disk only delays it."""
        known = self._keepalive.gaps
        made = msgspec.json.encode({key: known[key].bins() for key in sorted(keys) if key in known})
        if made == self._written or (not known and not self._written):
            return
        try:
            self._store.put(_NAME, made)
        except Transient as error:
            telemetry.logger().error("gaps.not_kept", reason=error.message)
            return
        self._written = made
