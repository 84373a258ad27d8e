"""One cloud for the tests that only use it; those that break things start their own."""

from pathlib import Path

import pytest

from tests.conftest import ARTIFACTS, make
from tests.e2e.cloud import Cloud, running


@pytest.fixture(scope="session")
def shared_artifacts() -> Path:
    """Weights of the default models, prepared once a checkout."""
    for name in ("smollm2", "minilm", "minilm-rerank"):
        make(name)
    return ARTIFACTS


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory, shared_artifacts: Path) -> Cloud:
    with running(tmp_path_factory.mktemp("cloud") / "home", artifacts=shared_artifacts) as cloud:
        yield cloud
