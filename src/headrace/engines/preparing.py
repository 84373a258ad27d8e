"""What every adapter does alike before a replica can be started: find what is lacking, build once, prove."""

import importlib.util
from collections.abc import Callable, Iterable
from pathlib import Path

from headrace.engines import artifact, golden
from headrace.errors import Permanent
from headrace.ports import Artifact, Engine
from headrace.specs.catalog import ModelSpec


def lacking(kind: str, packages: Iterable[str]) -> list[str]:
    """The Python packages an engine needs that are not installed, each with what to do."""
    return [
        f"the engine {kind} needs the Python package {name}; install headrace's requirements"
        for name in packages
        if importlib.util.find_spec(name) is None
    ]


def prepared(
    engine: Engine, model: ModelSpec, artifacts: Path, say: Callable[[str], None], build: Callable[[], Artifact]
) -> Artifact:
    """The artifact of a model: found, or built where nothing stands in the way; and proven by its golden question.

    Raises Permanent with all that is wrong.
    """
    found = artifact.load(model, artifacts)
    if found is None:
        if problems := engine.problems(model):
            raise Permanent("; ".join(problems))
        found = build()
    return golden.prove(engine, model, found, artifacts, say)
