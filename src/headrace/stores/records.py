"""Documents of the runner's parts in a SQLite file of their own."""

from pathlib import Path
from typing import Any, Final

from headrace.ports.records import Page, Record
from headrace.stores import upgrade
from headrace.stores.group_commit import GroupCommit

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS record (
    seq INTEGER PRIMARY KEY, id TEXT UNIQUE NOT NULL, kind TEXT NOT NULL, tenant TEXT NOT NULL, tag TEXT NOT NULL,
    digest TEXT NOT NULL, open INTEGER NOT NULL, due_s INTEGER NOT NULL, data BLOB NOT NULL,
    bytes INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS record_list ON record (kind, tenant, seq);
CREATE INDEX IF NOT EXISTS record_open ON record (kind, seq) WHERE open;
CREATE INDEX IF NOT EXISTS record_due ON record (kind, due_s) WHERE due_s;
CREATE INDEX IF NOT EXISTS record_digest ON record (digest) WHERE digest != '';
CREATE TABLE IF NOT EXISTS kept (
    tenant TEXT, kind TEXT, bytes INTEGER NOT NULL, PRIMARY KEY (tenant, kind)
) WITHOUT ROWID;
CREATE TRIGGER IF NOT EXISTS record_made AFTER INSERT ON record WHEN NEW.bytes BEGIN
    INSERT INTO kept VALUES (NEW.tenant, NEW.kind, NEW.bytes)
    ON CONFLICT (tenant, kind) DO UPDATE SET bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER IF NOT EXISTS record_changed AFTER UPDATE OF kind, bytes ON record BEGIN
    UPDATE kept SET bytes = bytes - OLD.bytes WHERE tenant = OLD.tenant AND kind = OLD.kind;
    INSERT INTO kept VALUES (NEW.tenant, NEW.kind, NEW.bytes)
    ON CONFLICT (tenant, kind) DO UPDATE SET bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER IF NOT EXISTS record_gone AFTER DELETE ON record WHEN OLD.bytes BEGIN
    UPDATE kept SET bytes = bytes - OLD.bytes WHERE tenant = OLD.tenant AND kind = OLD.kind;
END;
"""
_FIELDS: Final = "id, kind, tenant, tag, digest, open, due_s, data, bytes"
_PUT: Final = f"""
INSERT INTO record ({_FIELDS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET kind = excluded.kind, tag = excluded.tag, digest = excluded.digest,
    open = excluded.open, due_s = excluded.due_s, data = excluded.data, bytes = excluded.bytes
"""  # noqa: S608 - our own words
_COUNT: Final = """
UPDATE record SET bytes = iif(kind = 'response', length(data), json_extract(CAST(data AS TEXT), '$.bytes'))
WHERE kind IN ('file', 'video.file', 'response')
"""
_SELECT: Final = f"SELECT {_FIELDS} FROM record"  # noqa: S608 - our own words
_PAGE: Final = "WHERE kind = ?1 AND tenant = ?2 AND ?3 IN ('', tag)"
_PAGES: Final = (
    _PAGE + " AND (?4 = '' OR seq < (SELECT seq FROM record WHERE id = ?4)) ORDER BY seq DESC LIMIT ?5",  # noqa: S608 - our own words
    _PAGE + " AND (?4 = '' OR seq > (SELECT seq FROM record WHERE id = ?4)) ORDER BY seq LIMIT ?5",  # noqa: S608 - our own words
)


class SqliteRecords:
    """`ports.Records`."""

    def __init__(self, path: Path) -> None:
        if path.exists():
            upgrade.add_column(path, "record", "bytes INTEGER NOT NULL DEFAULT 0", _SCHEMA + _COUNT)
        self._db = GroupCommit(path, _SCHEMA, "the records of jobs")

    async def put(self, record: Record) -> None:
        """See `ports.Records`."""
        r = record
        await self._db.write((_PUT, (r.id, r.kind, r.tenant, r.tag, r.digest, int(r.open), r.due_s, r.data, r.bytes)))

    async def delete(self, name: str) -> None:
        """See `ports.Records`."""
        await self._db.write(("DELETE FROM record WHERE id = ?", (name,)))

    def get(self, kind: str, tenant: str, name: str) -> Record | None:
        """See `ports.Records`."""
        found = self._read("WHERE id = ? AND kind = ? AND tenant = ?", name, kind, tenant)
        return found[0] if found else None

    def page(self, kind: str, tenant: str, page: Page) -> list[Record]:
        """See `ports.Records`."""
        return self._read(_PAGES[page.oldest_first], kind, tenant, page.tag, page.after, page.limit)

    def open(self, kind: str) -> list[Record]:
        """See `ports.Records`."""
        return self._read("WHERE kind = ? AND open ORDER BY seq", kind)

    def all(self, kind: str) -> list[Record]:
        """See `ports.Records`."""
        return self._read("WHERE kind = ? ORDER BY seq", kind)

    def due(self, kind: str, now_s: int) -> list[Record]:
        """See `ports.Records`."""
        return self._read("WHERE kind = ? AND due_s AND due_s <= ? ORDER BY due_s LIMIT 1000", kind, now_s)

    def kept(self, tenant: str = "") -> dict[tuple[str, str], int]:
        """See `ports.Records`. Counted by triggers, in the transaction of each change."""
        where, values = ("AND tenant = ?", (tenant,)) if tenant else ("", ())
        found = self._db.read(f"SELECT tenant, kind, bytes FROM kept WHERE bytes {where}", *values)  # noqa: S608 - our own words
        return {(str(of), str(kind)): int(size) for of, kind, size in found}

    def held(self, kind: str, digest: str) -> bool:
        """See `ports.Records`."""
        return bool(self._read("WHERE digest = ? AND digest != '' AND kind = ? LIMIT 1", digest, kind))

    def close(self) -> None:
        """Finish what is being written, and let go of the file."""
        self._db.close()

    def _read(self, where: str, *values: str | int) -> list[Record]:
        return [_record(row) for row in self._db.read(f"{_SELECT} {where}", *values)]


def _record(row: tuple[Any, ...]) -> Record:
    name, kind, tenant, tag, digest, is_open, due_s, data, size = row
    return Record(id=name, kind=kind, tenant=tenant, tag=tag, digest=digest, open=bool(is_open), due_s=due_s,
                  data=bytes(data), bytes=size)  # fmt: skip
