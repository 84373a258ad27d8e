"""Who asks: the key of a request, checked against the table's hashes. Default deny.

One extractor for every header form. A key proved before is found by the header that held it: dictionaries compare by a
hash with a secret seed first, so their time tells nothing. The memory is dropped whenever the table changes, so a
revoked key is refused as soon as the table that lacks it arrives.
"""

from collections.abc import Iterable
from typing import Final

from headrace.state import keys
from headrace.state.table import RouteKey

_KNOWN_MAX: Final = 4_096
_KEY_BYTES_MAX: Final = 256


class Doorman:
    """Checks keys for one gateway worker."""

    def __init__(self, pepper: bytes) -> None:
        self._pepper = pepper
        self._by_id: dict[str, RouteKey] = {}
        self._salts: dict[str, str] = {}
        self._known: dict[tuple[bool, bytes], RouteKey] = {}  # by header: is it Authorization, and its value

    def update(self, valid: Iterable[RouteKey]) -> None:
        """Take a new list of keys; forget everybody."""
        self._by_id = {key.id: key for key in valid}
        self._known.clear()
        self._salts.clear()

    def salt(self, tenant: str) -> str:
        """What keeps a tenant's prompts apart in a prefix cache, whose pace would tell others of them."""
        known = self._salts.get(tenant)
        if known is None:
            known = self._salts[tenant] = keys.digest(self._pepper, f"cache/{tenant}")[:32]
        return known

    def key(self, headers: dict[bytes, bytes]) -> RouteKey | None:
        """The key these headers prove, None when they prove none."""
        given = headers.get(b"authorization")
        named = given is not None
        if given is None:
            given = headers.get(b"x-api-key", b"")
        known = self._known.get((named, given))
        if known is not None:
            return known
        if named and given[:7].lower() != b"bearer ":
            return None
        text = given[7:].strip() if named else given
        if not text or len(text) > _KEY_BYTES_MAX:
            return None
        known = self._prove(text)
        if known is not None and len(given) <= 2 * _KEY_BYTES_MAX:
            if len(self._known) >= _KNOWN_MAX:
                self._known.clear()
            self._known[named, given] = known
        return known

    def acting(self, headers: dict[bytes, bytes], key: RouteKey) -> bool:
        """Whether it is the runner of this cloud that acts for the holder of a key, and not the holder."""
        given = headers.get(b"authorization", b"")[7:].strip()
        return keys.same(given.hex(), keys.acting(self._pepper, key.id).encode().hex())

    def _prove(self, text: bytes) -> RouteKey | None:
        try:
            parts = keys.parse_key(text.decode("ascii"))
        except UnicodeDecodeError:
            return None
        if parts is None:
            return None
        name, secret = parts
        digest = keys.digest(self._pepper, secret)  # computed for unknown ids too: time tells nothing
        key = self._by_id.get(name)
        if key is None:
            return None
        return (
            key if keys.same(key.digest, digest) or keys.same(text.decode(), keys.acting(self._pepper, name)) else None
        )
