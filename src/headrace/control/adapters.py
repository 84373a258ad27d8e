"""What stands at the controller's ports, and how it starts processes beside itself; made by assembly."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from headrace.control.bookkeeper import Reader
from headrace.ports import Artifact, Clock, Engine, Store, Substrate
from headrace.specs.catalog import ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapters:
    """One cloud's. `find_artifact` finds prepared weights; `command` is the command line of a process by its role."""

    store: Store
    substrate: Substrate
    engines: Mapping[str, Engine]
    find_artifact: Callable[[ModelSpec], Artifact | None]
    command: Callable[[str], Sequence[str]]
    journal_reader: Reader
    clock: Clock
