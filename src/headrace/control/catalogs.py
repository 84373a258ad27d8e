"""The catalog as it is kept: one named value of the store."""

from typing import Final

import msgspec

from headrace.ports import Store
from headrace.specs.catalog import Catalog

_NAME: Final = "catalog"


def load(store: Store) -> Catalog | None:
    """What is wanted now; None in a new home."""
    data = store.get(_NAME)
    return None if data is None else msgspec.json.decode(data, type=Catalog)


def save(store: Store, catalog: Catalog) -> None:
    """From now on this is wanted."""
    store.put(_NAME, msgspec.json.encode(catalog))
