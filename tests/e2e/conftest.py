"""One cloud for the tests that only use it; those that break things start their own."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from headrace.specs.load import load_text
from tests.conftest import ARTIFACTS, prepare
from tests.e2e.cloud import Cloud, running

DEFAULT = Path(__file__).parents[2] / "src" / "headrace" / "specs" / "default.yaml"


@pytest.fixture(scope="session")
def shared_artifacts() -> Path:
    """Weights of the default models, prepared once a checkout."""
    for model in load_text(DEFAULT.read_text(), machine=(8 << 30, 2)).models:
        prepare(model)
    return ARTIFACTS


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory, shared_artifacts: Path) -> Cloud:
    with running(tmp_path_factory.mktemp("cloud") / "home", artifacts=shared_artifacts) as cloud:
        yield cloud


@pytest.fixture
def own_cloud(tmp_path: Path, shared_artifacts: Path) -> Iterator[Callable[[str], Cloud]]:
    """Starts a cloud of a file with that text, for one test; the weights are those of all."""
    with ExitStack() as clouds:

        def start(text: str) -> Cloud:
            spec = tmp_path / "cloud.yaml"
            spec.write_text(text)
            return clouds.enter_context(running(tmp_path / "home", artifacts=shared_artifacts, spec=spec))

        yield start
