"""API keys: made, proven, revoked, and read from where an operator keeps them.

The secret is shown once by whoever calls `create`; only its digest is kept. Keys that the cloud file refers to
(`env:NAME`, `file:PATH`) are read when the catalog is, belong to their tenant, and are of role user.
"""

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from headrace.errors import Invalid
from headrace.ports import Clock, KeyRecord, Store
from headrace.settings import Settings
from headrace.specs.catalog import Catalog
from headrace.state import keys

_CHANCE_BYTES: Final = keys.ID_LENGTH + keys.SECRET_BYTES


def bootstrap(settings: Settings, store: Store, clock: Clock) -> str | None:
    """The pepper and the operator's key, made when they are missing; the key's text when it is new."""
    if not settings.pepper.exists():
        _private(settings.pepper, secrets.token_hex(32))
    secret = pepper(settings)
    if settings.credentials.exists() and _stored(store, secret, settings.credentials.read_text().strip()):
        return None
    record = KeyRecord(id="", digest="", tenant="default", role="admin", name="operator", created_us=clock.now_us())
    _, text = create(store, secret, record)
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


class Keyring:
    """The keys that are valid now. `secret` reads a reference, or raises Invalid."""

    def __init__(self, store: Store, pepper: bytes, secret: Callable[[str], str]) -> None:
        self._store = store
        self._pepper = pepper
        self._secret = secret
        self._valid: dict[str, KeyRecord] = {}
        self.problems: tuple[str, ...] = ()

    def refresh(self, catalog: Catalog) -> None:
        """Read all keys again: of the store, and those the catalog refers to."""
        stored = self._store.keys()
        referenced, self.problems = self.referenced(catalog)
        tenants = {tenant.name for tenant in catalog.tenants}
        known = {record.id: record for record in (*referenced, *stored)}  # what was revoked here stays revoked
        self._valid = {
            record.id: record
            for record in known.values()
            if not record.revoked_us and (record.role == "admin" or record.tenant in tenants)
        }

    def records(self) -> tuple[KeyRecord, ...]:
        """The valid ones."""
        return tuple(self._valid.values())

    def proven(self, text: str) -> KeyRecord | None:
        """The valid key this text proves."""
        parts = keys.parse_key(text)
        if parts is None:
            return None
        record = self._valid.get(parts[0])
        # As much work for an id that is not there as for one that is.
        digest = keys.digest(self._pepper, parts[1])
        if keys.same(record.digest if record else "", digest):
            return record
        return record if keys.same(text, keys.acting(self._pepper, parts[0])) else None

    def create(self, wanted: KeyRecord) -> tuple[KeyRecord, str]:
        """A new key, and its text. Refresh afterwards."""
        return create(self._store, self._pepper, wanted)

    def revoke(self, name: str, now_us: int) -> KeyRecord:
        """Refuse a key from now on; refresh afterwards. Raises Invalid (404)."""
        record = _found(self._store, name)
        if record is None:
            record = self._valid.get(name)
        if record is None:
            raise Invalid(f"there is no key {name[:40]!r}; see: headrace key list", code="not_found", status=404)
        if not record.revoked_us:
            record = msgspec.structs.replace(record, revoked_us=now_us)
            self._store.key_put(record)
        return record

    def referenced(self, catalog: Catalog) -> tuple[list[KeyRecord], tuple[str, ...]]:
        """The keys a catalog refers to, and what is wrong with those that cannot be used."""
        found, problems = [], []
        for tenant in catalog.tenants:
            for reference in tenant.keys:
                try:
                    parts = keys.parse_key(self._secret(reference))
                except Invalid as error:
                    problems.append(f"tenant {tenant.name}: {error.message}")
                    continue
                if parts is None:
                    problems.append(
                        f"tenant {tenant.name}: what {reference} holds is not a key; "
                        f"it must have the form that `headrace key create` prints"
                    )
                    continue
                digest = keys.digest(self._pepper, parts[1])
                found.append(KeyRecord(id=parts[0], digest=digest, tenant=tenant.name, role="user", name=reference))
        return found, tuple(problems)


def _stored(store: Store, pepper: bytes, text: str) -> bool:
    parts = keys.parse_key(text)
    if parts is None:
        return False
    record = _found(store, parts[0])
    return record is not None and not record.revoked_us and keys.same(record.digest, keys.digest(pepper, parts[1]))


def _found(store: Store, name: str) -> KeyRecord | None:
    every = store.keys()
    return next((record for record in every if record.id == name), None)


def _private(path: Path, text: str) -> None:
    """Written whole or not at all, for this user alone."""
    beside = path.with_suffix(".new")
    file = os.open(beside, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    with os.fdopen(file, "w") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    beside.replace(path)
