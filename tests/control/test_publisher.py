"""The link: tables out, reports in, and what may be concluded from them."""

import asyncio
import contextlib
import os
from pathlib import Path

import msgspec
import pytest

from headrace.control.publisher import REPORT_STALE_US, Publisher
from headrace.state import keys
from headrace.state.table import Challenge, Proof, Report, Table
from tests.control.sim import S, SimClock, held

pytestmark = pytest.mark.anyio


def table(**changed: object) -> Table:
    return Table(**({"revision": 0, "models": (), "replicas": (), "keys": ()} | changed))  # type: ignore[arg-type]


def keyed(name: str) -> Table:
    from headrace.state.table import RouteKey

    return table(keys=(RouteKey(id=name, digest="", tenant="t", role="user"),))


@pytest.fixture
def heard() -> list[Report]:
    return []


@pytest.fixture
def publisher(tmp_path: Path, heard: list[Report]) -> Publisher:
    return Publisher(tmp_path / "link.sock", tmp_path / "table.json", SimClock(), heard.append)


def report(epoch: str = "g", *demand, **more) -> Report:
    return Report(**({"worker": 0, "epoch": epoch, "pid": 1, "demand": demand} | more))


async def connected(publisher: Publisher, path: Path):
    await publisher.start()
    return await proven(path)


async def proven(path: Path):
    """A gateway that has said who it is."""
    reader, writer = await asyncio.open_unix_connection(path / "link.sock", limit=1 << 20)
    asked = msgspec.json.decode(await reader.readline(), type=Challenge)
    writer.write(msgspec.json.encode(Proof(answer=keys.proof(b"", asked.nonce))) + b"\n")
    return reader, writer


async def test_a_gateway_gets_the_last_table_at_once_and_each_change(publisher, tmp_path, heard):
    """Also what it reports is heard, and the file holds what was sent, for this user alone."""
    publisher.publish(table())
    reader, writer = await connected(publisher, tmp_path)
    first = msgspec.json.decode(await reader.readline(), type=Table)
    publisher.publish(keyed("a"))
    second = msgspec.json.decode(await reader.readline(), type=Table)
    assert second.revision > first.revision
    assert msgspec.json.decode((tmp_path / "table.json").read_bytes(), type=Table) == second
    assert (tmp_path / "table.json").stat().st_mode & 0o777 == 0o600
    writer.write(msgspec.json.encode(report()) + b"\n")
    async with asyncio.timeout(5):
        while not heard:
            await asyncio.sleep(0)
    writer.close()
    await publisher.close()


async def test_an_equal_table_is_not_sent_again(publisher):
    """Its revision stays."""
    publisher.publish(keyed("a"))
    before = publisher.revision
    publisher.publish(keyed("a"))
    assert publisher.revision == before


async def test_revisions_grow_over_restarts(publisher, tmp_path):
    """A new controller's first table is newer than the last one of its predecessor."""
    publisher.publish(keyed("a"))
    publisher._clock.us += 1
    again = Publisher(tmp_path / "l", tmp_path / "t", publisher._clock, print)
    again.publish(keyed("a"))
    assert again.revision > publisher.revision


async def test_a_line_that_is_no_report_ends_that_link_alone(publisher, tmp_path):
    """The next one is served."""
    publisher.publish(table())
    reader, writer = await connected(publisher, tmp_path)
    writer.write(b"nonsense\n")
    assert len((await reader.read()).splitlines()) == 1
    again, other = await proven(tmp_path)
    assert await again.readline()
    writer.close()
    other.close()
    await publisher.close()


async def test_another_users_process_is_neither_told_nor_heard(publisher, tmp_path, heard, monkeypatch):
    """The connection ends at once, with nothing on it."""
    publisher.publish(keyed("a"))
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    await publisher.start()
    reader, writer = await asyncio.open_unix_connection(tmp_path / "link.sock")
    writer.write(msgspec.json.encode(report()) + b"\n")
    with contextlib.suppress(ConnectionResetError):
        assert await reader.read() == b""
    assert heard == []
    writer.close()
    await publisher.close()


async def test_demand_is_the_sum_of_living_gateways(publisher):
    """A gateway that is silent for 2 s counts no more."""
    publisher.hear(report("a", held(queued=2)))
    publisher._clock.us += S
    publisher.hear(report("b", held(queued=3)))
    assert publisher.demand()["m@v1"].queued == 5
    publisher._clock.us += REPORT_STALE_US - S
    assert publisher.demand()["m@v1"].queued == 3


async def test_lengths_outlive_the_gateway_that_counted_them(publisher):
    """Counted once however often they are told; a gateway of another epoch begins anew."""
    for told in ({7: (2, 220, 30)}, {7: (2, 220, 30)}, {7: (3, 320, 40)}):
        publisher.hear(report("a", held(sizes=told)))
    publisher._clock.us += REPORT_STALE_US
    publisher.hear(report("b", held(sizes={9: (1, 300, 5)})))
    assert publisher.demand()["m@v1"].sizes == {7: (3, 320, 40), 9: (1, 300, 5)}


async def test_counts_of_all_gateways_are_added_up_and_go_on_when_one_begins_anew(publisher):
    """Work, that of long prompts, answers and those that were late: of who is gone as well."""
    began = {"began_us": publisher._clock.us}
    publisher.hear(report("a", held(asked_us=100, long_asked_us=30, begun=9, late=2), **began))
    publisher.hear(report("b", held(asked_us=50, long_asked_us=20, paced=4, slow=1), **began))
    publisher.hear(report("a", held(asked_us=160, long_asked_us=40, begun=12, late=2), **began))
    publisher._clock.us += REPORT_STALE_US
    publisher.hear(report("c", held(asked_us=7, long_asked_us=7, begun=1, late=1), **began))
    found = publisher.demand()["m@v1"]
    assert (found.asked_us, found.long_asked_us) == (217, 67)
    assert (found.begun, found.late, found.paced, found.slow) == (13, 3, 4, 1)


async def test_what_a_gateway_counted_before_this_controller_began_is_no_news(publisher):
    """But for lengths, of which a few tell what is asked; its next report counts from there."""
    old = {"began_us": publisher._clock.us - 1}
    sizes = {7: (9_000, 900_000, 90_000), 13: (1_000, 6_000_000, 10_000)}
    publisher.hear(report("a", held(asked_us=10**9, long_asked_us=10**8, begun=500, sizes=sizes), **old))
    found = publisher.demand()["m@v1"]
    assert (found.asked_us, found.long_asked_us, found.begun) == (0, 0, 0)
    assert found.sizes == {7: (270, 27_000, 2_700), 13: (30, 180_000, 300)}
    publisher.hear(report("a", held(asked_us=10**9 + 5, long_asked_us=10**8, begun=501, sizes=sizes), **old))
    again = publisher.demand()["m@v1"]
    assert (again.asked_us, again.begun, again.sizes) == (5, 1, found.sizes)


async def test_a_gateway_that_was_forgotten_is_counted_once(publisher, monkeypatch):
    """So many came and went that who is silent was forgotten; it was silent only for a while."""
    monkeypatch.setattr("headrace.control.publisher._COUNTED_MAX", 2)
    began = {"began_us": publisher._clock.us}
    publisher.hear(report("a", held(asked_us=100), **began))
    publisher._clock.us += REPORT_STALE_US
    for name in "bc":
        publisher.hear(report(name, held(asked_us=1), began_us=publisher._clock.us))
    assert publisher.demand()["m@v1"].asked_us == 102
    publisher.hear(report("a", held(asked_us=130), **began))
    assert publisher.demand()["m@v1"].asked_us in (102, 132)
    publisher.hear(report("a", held(asked_us=131), **began))
    assert publisher.demand()["m@v1"].asked_us in (103, 133)


async def test_work_is_supposed_until_every_gateway_could_say_otherwise(publisher):
    """Just started, and later for whoever does not know the table yet, a replica is not taken for free."""
    assert publisher.at_work("r", 0)
    publisher._clock.us += REPORT_STALE_US
    assert not publisher.at_work("r", 0)
    publisher.hear(report("a", revision=4))
    assert [publisher.at_work("r", 4), publisher.at_work("r", 5)] == [False, True]
    publisher.hear(report("a", revision=5, in_flight={"r": 1}))
    assert publisher.at_work("r", 5)


async def test_a_table_is_settled_once_every_gateway_routes_by_it(publisher, tmp_path):
    """Who has not said so is waited for; nobody on the link is nobody to wait for."""
    publisher.publish(keyed("a"))
    assert await publisher.settled()
    reader, writer = await connected(publisher, tmp_path)
    told = msgspec.json.decode(await reader.readline(), type=Table)
    settled = asyncio.ensure_future(publisher.settled())
    writer.write(msgspec.json.encode(report(revision=told.revision - 1)) + b"\n")
    await asyncio.sleep(0.02)
    assert not settled.done()
    writer.write(msgspec.json.encode(report(revision=told.revision)) + b"\n")
    assert await settled
    writer.close()
    await publisher.close()


@pytest.mark.parametrize("said", [b'{"type":"proof","answer":"00"}\n', b"nonsense\n", b""])
async def test_nobody_is_told_anything_before_the_proof(publisher, tmp_path, said):
    """A replica runs as the same user; the table holds the keys of foreign servers."""
    publisher.publish(keyed("secret"))
    await publisher.start()
    reader, writer = await asyncio.open_unix_connection(tmp_path / "link.sock")
    writer.write(said)
    writer.write_eof()
    told = await reader.read()
    assert told.count(b"\n") == 1
    assert b"secret" not in told
    writer.close()
    await publisher.close()


def test_a_new_controller_takes_up_the_counters_of_gateways_that_outlive_it(tmp_path):
    """Of a model that is divided: both counters go on from where they are, and the long part stays within the whole."""
    anew = Publisher(tmp_path / "anew.sock", tmp_path / "anew.json", SimClock(), lambda _: None)
    anew.hear(report("a", held(asked_us=900, long_asked_us=300)))
    (first,) = anew.demand().values()
    anew.hear(report("a", held(asked_us=960, long_asked_us=340)))
    (then,) = anew.demand().values()
    assert (then.asked_us - first.asked_us, then.long_asked_us - first.long_asked_us) == (60, 40)
    assert 0 < then.long_asked_us <= then.asked_us
