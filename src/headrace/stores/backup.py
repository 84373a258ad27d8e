"""Backups of the database: whole copies made while it is used, proved before they are used, put back by one command.

A copy is made by SQLite's own backup interface, on a connection of its own, and appears under its name only when it is
whole. Restoring never deletes: what is replaced is moved aside.
"""

import os
import time
from pathlib import Path
from typing import Final

import apsw

from headrace.errors import Invalid, Permanent, Transient
from headrace.stores.audit import audit

KEPT: Final = 24
PAGES_A_STEP: Final = 2_000
_SUFFIXES: Final = ("", "-wal", "-shm")


def backup(database: Path, folder: Path) -> Path:
    """Copy the database into the folder; the newest KEPT copies stay. Raises Transient when the disk refuses."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / time.strftime("headrace-%Y%m%dT%H%M%SZ.db", time.gmtime())
    beside = path.with_suffix(".new")
    beside.unlink(missing_ok=True)
    try:
        source = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY)
        target = apsw.Connection(str(beside))
        try:
            with target.backup("main", source, "main") as copy:
                while not copy.done:
                    copy.step(PAGES_A_STEP)
        finally:
            target.close()
            source.close()
        beside.chmod(0o600)
        beside.replace(path)
    except (apsw.Error, OSError) as error:
        beside.unlink(missing_ok=True)
        raise Transient(f"the database could not be copied to {folder}: {error}", delay_us=60_000_000) from error
    for old in copies(folder)[KEPT:]:
        old.unlink(missing_ok=True)
    return path


def copies(folder: Path) -> list[Path]:
    """All backups, newest first."""
    return sorted(folder.glob("headrace-*.db"), reverse=True)


def restore(database: Path, folder: Path, chosen: Path | None = None) -> tuple[Path, Path | None]:
    """Put a backup in the database's place: the one chosen, or the newest that is right. The copy, what was replaced.

    Raises Invalid when there is none, Permanent when the chosen one is not right.
    """
    tried = [chosen] if chosen is not None else copies(folder)
    good = next((path for path in tried if path.exists() and audit(path).ok), None)
    if good is None and chosen is not None:
        why = "; ".join(audit(chosen).found) if chosen.exists() else "there is no such file"
        raise Permanent(f"{chosen} cannot be used: {why}")
    if good is None:
        raise Invalid(f"there is no backup in {folder} whose books are right; give another file", status=404)
    aside = None
    if database.exists():
        aside = database.with_name(f"{database.name}.replaced-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
        for suffix in _SUFFIXES:
            old = database.with_name(database.name + suffix)
            if old.exists():
                old.rename(aside.with_name(aside.name + suffix))
    beside = database.with_suffix(".restored")
    beside.write_bytes(good.read_bytes())
    beside.chmod(0o600)
    with beside.open("rb") as file:
        os.fsync(file.fileno())
    beside.replace(database)
    return good, aside
