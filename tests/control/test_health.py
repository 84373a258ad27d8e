"""Health: a hung replica is killed within seconds; a foreign server's hiccup is no absence."""

import asyncio
from pathlib import Path

import pytest

from headrace.control import probes
from headrace.specs.catalog import EngineSpec
from tests.control.sim import SimCloud, catalog, model

pytestmark = pytest.mark.anyio
FAR = model("far", "openai", engine=EngineSpec(kind="openai", url="http://127.0.0.1:9/v1"))


@pytest.fixture
def well(monkeypatch: pytest.MonkeyPatch) -> dict[str, bool]:
    """Whether an address answers; it does unless told otherwise."""
    said: dict[str, bool] = {}

    async def answers(address: str, path: str = "/health") -> bool:
        return said.get(address, True)

    monkeypatch.setattr(probes, "answers", answers)
    return said


async def looked(cloud: SimCloud, times: int) -> None:
    for _ in range(times):
        await cloud.health.look(cloud.loop.fleet, cloud.loop.catalog)


async def test_three_misses_in_a_row_are_a_hang_and_two_are_not(tmp_path, well):
    """Its incarnation is killed, and no other; an answer between begins the count anew."""
    cloud = SimCloud(tmp_path, catalog(model()))
    name = await cloud.awake()
    (address,) = [r.address for r in cloud.loop.fleet.replicas]
    well[address] = False
    await looked(cloud, 2)
    well[address] = True
    await looked(cloud, 1)
    well[address] = False
    await looked(cloud, 2)
    assert cloud.substrate.killed == []
    await looked(cloud, 1)
    assert cloud.substrate.killed == [(name, f"{name}.1")]
    cloud.records.flush()
    assert cloud.store.decisions(limit=1)[0].kind == "replica.hung"


async def test_misses_of_an_incarnation_are_not_its_successor_s(tmp_path, well):
    """A new process begins with a clean slate."""
    cloud = SimCloud(tmp_path, catalog(model()))
    name = await cloud.awake()
    (address,) = [r.address for r in cloud.loop.fleet.replicas]
    well[address] = False
    await looked(cloud, 2)
    cloud.substrate.become(name, "ready", incarnation="two")
    cloud.loop.observe()
    await looked(cloud, 2)
    assert cloud.substrate.killed == []


async def test_a_foreign_server_is_away_after_three_misses_and_back_with_one_answer(tmp_path, well):
    """It is never killed; its model says that it does not answer."""
    cloud = SimCloud(tmp_path, catalog(FAR))
    assert cloud.loop.fault(FAR) == ""
    await looked(cloud, 1)
    await cloud.loop.round()
    assert [r.address for r in cloud.table.replicas] == ["http://127.0.0.1:9"]
    well["http://127.0.0.1:9"] = False
    await looked(cloud, 2)
    assert cloud.health.answering(FAR) is True
    await looked(cloud, 1)
    await cloud.loop.round()
    assert cloud.table.models[0].fault == "its server at http://127.0.0.1:9/v1 does not answer"
    assert (cloud.table.replicas, cloud.substrate.killed) == ((), [])
    well["http://127.0.0.1:9"] = True
    await looked(cloud, 1)
    assert cloud.health.answering(FAR) is True


async def test_one_that_never_answered_is_away_at_once(tmp_path, well):
    """Nobody waits three seconds to hear that the address is wrong."""
    cloud = SimCloud(tmp_path, catalog(FAR))
    well["http://127.0.0.1:9"] = False
    await looked(cloud, 1)
    assert cloud.health.answering(FAR) is False


async def test_a_gateway_s_doubt_shortens_the_pause(tmp_path):
    """A fault in a report has the next asking done soon."""
    cloud = SimCloud(tmp_path, catalog())
    cloud.report(faults=("r/i",))
    start = asyncio.get_running_loop().time()
    await cloud.health.pause()
    assert asyncio.get_running_loop().time() - start < 0.9


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", True),
        (b"HTTP/1.1 404 no\r\n\r\n", True),
        (b"HTTP/1.1 503 no\r\n\r\n", False),
        (b"garbage\r\n", False),
        (b"", False),
        (b"x" * (1 << 17), False),
    ],
)
async def test_what_counts_as_an_answer(tmp_path: Path, reply, expected):
    """Any status below 500, whatever the body; nonsense, endless lines and silence do not."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply)
        writer.close()

    server = await asyncio.start_unix_server(serve, tmp_path / "s")
    assert await probes.answers(f"unix:{tmp_path}/s") is expected
    server.close()


async def test_nobody_there_is_no_answer(tmp_path):
    """Nor is an address that is none."""
    assert [await probes.answers(a) for a in (f"unix:{tmp_path}/none", "http://127.0.0.1:1", "http://[bad")] == [
        False
    ] * 3
