"""The loop of asynchronous tests, which say `pytestmark = pytest.mark.anyio`."""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
