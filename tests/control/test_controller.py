"""The controller as a process: it dies, another comes, and nobody who is served notices."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from tests.control.crew import Ear, running
from tests.control.sim import held
from tests.substrates.programs import alive, until

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
async def test_a_successor_adopts_what_runs_and_restarts_nothing(tmp_path: Path, end):
    """The same process and incarnation after as before, one lease, still open, and a newer table."""
    with running(tmp_path) as crew:
        ear = Ear(crew)
        await ear.connect()
        ear.say(held())
        before = await ear.until_ready()
        (replica,) = await asyncio.to_thread(lambda: crew.admin("GET", "replicas")["replicas"])
        (lease,) = await asyncio.to_thread(lambda: crew.admin("GET", "leases")["leases"])
        revision = ear.table.revision
        ear.close()
        os.kill(crew.controller(), end)
        assert alive(replica["pid"])
        await ear.connect(revision)
        assert await ear.until_ready() == before
        ear.say()
        (after,) = await until_answered(crew, "replicas")
        assert (after["pid"], after["restarts"], after["phase"]) == (replica["pid"], 0, "ready")
        assert await until_answered(crew, "leases") == [lease]
        assert lease["ended_us"] == 0
        kinds = [event["kind"] for event in await until_answered(crew, "events")]
        assert kinds == ["replica.adopt", "replica.ready", "replica.start", "price.set"]
        ear.close()
        log = (crew.settings.logs / "controller.log").read_text()
        assert ("ended by itself" in log) == (end == signal.SIGTERM)


async def test_a_stopped_replica_leaves_the_table_first_and_its_lease_is_closed(tmp_path: Path):
    """Draining is told; when the gateway says that it has nothing there, the process ends."""
    with running(tmp_path) as crew:
        ear = Ear(crew)
        await ear.connect()
        ear.say(held())
        name, _ = await ear.until_ready()
        (replica,) = await until_answered(crew, "replicas")
        ear.say(in_flight={name: 1})
        await asyncio.to_thread(crew.admin, "POST", f"replicas/{name}/stop")
        while ear.table.replicas[0].phase != "draining":
            await ear.hear()
        assert alive(replica["pid"])
        ear.say()
        beat = asyncio.ensure_future(beating(ear))
        await until(lambda: not alive(replica["pid"]))
        beat.cancel()
        leases = await until(lambda: [x for x in crew.admin("GET", "leases")["leases"] if x["ended_us"]])
        assert [lease["replica"] for lease in leases] == [name]
        ear.close()


async def test_a_revoked_key_is_out_of_the_gateways_table_when_the_answer_comes(tmp_path: Path):
    """Its holder is refused from the next request on."""
    with running(tmp_path) as crew:
        ear = Ear(crew)
        await ear.connect()
        (key,) = await until_answered(crew, "keys")
        await asyncio.to_thread(crew.admin, "DELETE", f"keys/{key['id']}")
        while ear.table.keys:
            await ear.hear()
        assert crew.settings.table_file.read_bytes().count(key["id"].encode()) == 0
        ear.close()


async def until_answered(crew, noun: str):
    """The admin API is served a moment after the link."""

    def ask():
        try:
            return [crew.admin("GET", noun)[noun]]
        except OSError:
            return None

    (found,) = await until(ask)
    return found


async def beating(ear: Ear) -> None:
    while True:
        ear.say()
        await asyncio.sleep(0.1)
