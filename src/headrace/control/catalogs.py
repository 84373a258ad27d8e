"""The catalog as it is kept: one named value of the store."""

from typing import Final

import msgspec

from headrace.policy import in_force as policy
from headrace.ports import Store
from headrace.specs.catalog import Catalog
from headrace.state.rollout import Rollout

ROLLOUTS: Final = "rollouts"  # by that name `Rollouts` keeps what it knows
_NAME: Final = "catalog"


def load(store: Store) -> Catalog | None:
    """What is wanted now; None in a new home."""
    data = store.get(_NAME)
    return None if data is None else msgspec.json.decode(data, type=Catalog)


def in_force(store: Store) -> Catalog | None:
    """What is wanted now, with the versions that rollouts brought from other files; None in a new home."""
    declared, kept = load(store), store.get(ROLLOUTS)
    if declared is None or kept is None:
        return declared
    return policy.catalog(declared, msgspec.json.decode(kept, type=dict[str, Rollout]))


def save(store: Store, catalog: Catalog) -> None:
    """From now on this is wanted."""
    store.put(_NAME, msgspec.json.encode(catalog))
