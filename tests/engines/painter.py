"""The painter as the default cloud has it, prepared once a checkout."""

import filelock

from headrace.engines.painter import PainterEngine
from headrace.ports import Artifact
from headrace.specs.catalog import EngineSpec, Golden
from tests.conftest import ARTIFACTS, CACHE
from tests.conftest import model as model_of

PAINTER = model_of(
    "painter",
    "image",
    "package://headrace/weights/painter",
    EngineSpec(kind="painter", slots=8, threads=2),
    Golden(prompt="a red circle on a white background", expect="red"),
)


def made() -> Artifact:
    """The proven artifact; whoever comes first makes it."""
    ARTIFACTS.mkdir(parents=True, exist_ok=True)
    (CACHE / ".gitignore").write_text("*\n")
    with filelock.FileLock(CACHE / "painter.lock"):
        return PainterEngine().prepare(PAINTER, ARTIFACTS, print)
