"""Files of the runner that an earlier version made, brought to the schema of this one before they are used."""

from pathlib import Path

import apsw


def add_column(path: Path, table: str, column: str, fill: str) -> None:
    """Add a column to a table that lacks it, and fill it; all or nothing. The words are our own."""
    db = apsw.Connection(str(path))
    try:
        with db:
            known = {row[1] for row in db.execute(f"PRAGMA table_info({table})")}
            if known and column.split()[0] not in known:
                db.execute(f"ALTER TABLE {table} ADD COLUMN {column}")
                db.execute(fill)
    finally:
        db.close()
