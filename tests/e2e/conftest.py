"""One cloud for the tests that only use it; those that break things start their own."""

import pytest

from tests.e2e.cloud import Cloud, running


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory, shared_artifacts) -> Cloud:
    with running(tmp_path_factory.mktemp("cloud") / "home", artifacts=shared_artifacts) as cloud:
        yield cloud
