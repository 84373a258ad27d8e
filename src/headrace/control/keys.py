"""Making, proving and revoking API keys. Whoever calls `create` shows the secret once; only its digest is kept."""

import os
import secrets
from typing import Final

import msgspec

from headrace.errors import Invalid
from headrace.ports import Clock, KeyRecord, Store
from headrace.settings import Settings
from headrace.state import keys

_CHANCE_BYTES: Final = keys.ID_LENGTH + keys.SECRET_BYTES


def bootstrap(settings: Settings, store: Store, clock: Clock) -> str | None:
    """The pepper and the operator's key, made when they are missing; the key's text when it is new."""
    if not settings.pepper.exists():
        _private(settings.pepper, secrets.token_hex(32))
    if settings.credentials.exists() and proven(store, pepper(settings), settings.credentials.read_text().strip()):
        return None
    record = KeyRecord(id="", digest="", tenant="default", role="admin", name="operator", created_us=clock.now_us())
    _, text = create(store, pepper(settings), record)
    _private(settings.credentials, text + "\n")
    return text


def pepper(settings: Settings) -> bytes:
    """The secret that digests are made with."""
    return bytes.fromhex(settings.pepper.read_text().strip())


def create(store: Store, pepper: bytes, wanted: KeyRecord) -> tuple[KeyRecord, str]:
    """Keep a new key as `wanted`, its id and digest filled in; the record and the key's text."""
    name, secret, text = keys.make_key(secrets.token_bytes(_CHANCE_BYTES))
    record = msgspec.structs.replace(wanted, id=name, digest=keys.digest(pepper, secret))
    store.key_put(record)
    return record, text


def revoke(store: Store, name: str, now_us: int) -> KeyRecord:
    """Refuse a key from now on. Raises Invalid (404)."""
    record = _found(store, name)
    if record is None:
        raise Invalid(f"there is no key {name[:40]!r}; see: headrace key list", code="not_found", status=404)
    if not record.revoked_us:
        record = msgspec.structs.replace(record, revoked_us=now_us)
        store.key_put(record)
    return record


def proven(store: Store, pepper: bytes, text: str) -> KeyRecord | None:
    """The valid key this text proves."""
    parts = keys.parse_key(text)
    if parts is None:
        return None
    name, secret = parts
    digest = keys.digest(pepper, secret)
    record = _found(store, name)
    if record is None or record.revoked_us or not keys.same(record.digest, digest):
        return None
    return record


def _found(store: Store, name: str) -> KeyRecord | None:
    every = store.keys()
    return next((record for record in every if record.id == name), None)


def _private(path: "os.PathLike[str]", text: str) -> None:
    file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    with os.fdopen(file, "w") as out:
        out.write(text)
