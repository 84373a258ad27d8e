"""How a kind of model is run."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec

from headrace.ports.substrate import Rest
from headrace.specs.catalog import ModelSpec
from headrace.state.table import Ability


class Artifact(msgspec.Struct, frozen=True, kw_only=True):
    """Prepared weights: content-addressed, golden-checked, never changed. `files` maps a role to a name in `path`."""

    digest: str
    path: str
    files: dict[str, str]
    memory_bytes: int
    note: str = ""


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """How to start a replica. The process prints one line `{"ready": true, "address": ...}` on its standard output.

    A program that cannot (vllm) has `ready_path` set: it is ready when that path answers 200 at `address`. `rest` says
    how it sleeps, and is given exactly where the model's engine says that it can.
    """

    argv: tuple[str, ...]
    env: dict[str, str]
    address: str
    ready_path: str = ""
    rest: Rest | None = None


class Engine(Protocol):
    """How a kind of model is run. Everything but `prepare` is a pure function."""

    kind: str

    def ability(self, model: ModelSpec) -> Ability:
        """What replicas of this model can do."""
        ...

    def problems(self, model: ModelSpec) -> list[str]:
        """Why this model cannot run with this engine here; empty when it can. Looks, but starts nothing."""
        ...

    def prepare(self, model: ModelSpec, artifacts: Path, say: Callable[[str], None]) -> Artifact:
        """Fetch, convert or quantise, check the golden question; once, in a process of its own.

        Idempotent: a finished artifact is found by its digest. Raises Permanent with a reason and a fix.
        """
        ...

    def command(self, model: ModelSpec, artifact: Artifact, address: str, port: int) -> Command:
        """The command of one replica that shall listen on `address` (`unix:/path`), or on loopback `port`."""
        ...
