"""Backups: whole copies of a database in use, and the way back from a damaged one."""

from pathlib import Path

import pytest

from headrace.errors import Invalid, Permanent
from headrace.stores import backup as backups
from headrace.stores.audit import audit
from headrace.stores.sqlite import SqliteStore


def filled(path: Path, value: bytes = b"kept") -> SqliteStore:
    store = SqliteStore(path)
    store.put("name", value)
    return store


def test_a_damaged_database_is_put_right_by_the_newest_good_copy(tmp_path: Path):
    """What was there is moved aside, and the copy opens with what it held."""
    store = filled(tmp_path / "headrace.db")
    good = store.backup(tmp_path / "backups")
    bad = good.with_name("headrace-99990101T000000Z.db")
    bad.write_bytes(b"not a database at all" * 100)
    store.close()
    whole = (tmp_path / "headrace.db").read_bytes()
    (tmp_path / "headrace.db").write_bytes(whole[:5000] + b"\xff" * 3000 + whole[8000:])
    used, aside = backups.restore(tmp_path / "headrace.db", tmp_path / "backups")
    assert used == good
    assert aside is not None
    assert aside.exists()
    again = SqliteStore(tmp_path / "headrace.db")
    assert again.get("name") == b"kept"
    again.close()


def test_a_copy_is_made_while_the_database_is_written(tmp_path: Path):
    """It is one state of it, and its books are right."""
    store = filled(tmp_path / "headrace.db")
    for number in range(50):
        store.put(f"n{number}", b"x" * 10_000)
    path = store.backup(tmp_path / "backups")
    store.close()
    assert audit(path).ok
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_cannot_be_restored_is_told(tmp_path: Path):
    """No backup at all; one that is not right; one that is not there."""
    with pytest.raises(Invalid, match="no backup"):
        backups.restore(tmp_path / "headrace.db", tmp_path / "backups")
    (tmp_path / "bad.db").write_bytes(b"nothing" * 1000)
    with pytest.raises(Permanent, match="cannot be used"):
        backups.restore(tmp_path / "headrace.db", tmp_path, tmp_path / "bad.db")
    with pytest.raises(Permanent, match="no such file"):
        backups.restore(tmp_path / "headrace.db", tmp_path, tmp_path / "none.db")


def test_only_the_newest_copies_stay(tmp_path: Path):
    """A bounded number."""
    folder = tmp_path / "backups"
    folder.mkdir()
    for number in range(40):
        (folder / f"headrace-20200101T0000{number:02}Z.db").write_bytes(b"")
    filled(tmp_path / "headrace.db").backup(folder)
    assert len(backups.copies(folder)) == backups.KEPT
