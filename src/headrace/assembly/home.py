"""The home of a cloud: its folders and its database, made, read, looked into and restored before anything runs.

Called by the CLI and by processes as they begin. Imports stand inside the functions, as in the package itself.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.assembly.clock import SystemClock
from headrace.errors import HeadraceError
from headrace.settings import Settings

if TYPE_CHECKING:
    from headrace.specs.catalog import Catalog, ModelSpec


@dataclass(frozen=True, slots=True)
class Boot:
    """What was found or made before the start. `key` is the operator's key when it is new, else None."""

    key: str | None
    catalog: "Catalog"


def prepared(settings: Settings, model: "ModelSpec") -> bool:
    """Whether a model's weights are prepared in this home."""
    from headrace.engines import artifact

    return artifact.find(model, settings.artifacts) is not None


def stored_catalog(settings: Settings, *, in_force: bool = False) -> "Catalog | None":
    """The catalog this home was last given, or what rollouts made of it; None when it is new."""
    from headrace.control import catalogs
    from headrace.stores.sqlite import SqliteStore

    if not settings.database.exists():
        return None
    store = SqliteStore(settings.database)
    try:
        return catalogs.in_force(store) if in_force else catalogs.load(store)
    finally:
        store.close()


def restore(settings: Settings, chosen: Path | None) -> tuple[Path, Path | None]:
    """Put a backup in the database's place: the copy, and where what was there is now."""
    from headrace.stores import backup

    good, aside = backup.restore(settings.database, settings.backups, chosen)
    if settings.witness.exists():  # it saw entries that are not in the backup
        settings.witness.rename(settings.witness.with_name(f"witness.{aside.name if aside else 'replaced'}"))
    return good, aside


def database_problems(settings: Settings) -> list[str]:
    """What is wrong with the database of this home, also while a cloud uses it; empty when nothing is."""
    from headrace.stores.sqlite import SqliteStore

    try:
        store = SqliteStore(settings.database)
    except HeadraceError as error:
        return [error.message]
    try:
        return store.problems()
    except HeadraceError as error:
        return [error.message]
    finally:
        store.close()


def bootstrap(settings: Settings, catalog: "Catalog | None") -> Boot:
    """Make the home: folders, pepper, operator's key; keep `catalog` as what is wanted when one is given."""
    from headrace.control import catalogs, keys
    from headrace.stores.sqlite import SqliteStore

    for folder in (settings.home, settings.journals, settings.artifacts, settings.logs, settings.run):
        private(folder)
    store = SqliteStore(settings.database)
    try:
        if catalog is not None:
            catalogs.save(store, catalog)
        wanted = catalogs.load(store)
        assert wanted is not None, "the caller gives a catalog to a new home"
        return Boot(keys.bootstrap(settings, store, SystemClock()), wanted)
    finally:
        store.close()


def private(folder: Path) -> None:
    """Make a folder that is this user's alone; refuse one that is another's."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not folder.is_symlink() and folder.stat().st_uid != os.getuid():
        raise HeadraceError(f"{folder} belongs to another user; give another --home")
