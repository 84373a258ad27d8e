"""What the contract does not say: that a worker is not believed, and how its failures are counted."""

import asyncio
import contextlib
import os
import signal
from pathlib import Path

import pytest

from headrace.ports import Post, Rest, WorkerStatus
from headrace.substrates import supervisor
from headrace.substrates.supervisor import Supervisor
from tests.substrates import programs
from tests.substrates.programs import spec, until


def followed(folder: Path, code: str, **more: object) -> list[WorkerStatus]:
    """All that is told of a worker until it is ready or failed; then it is stopped."""
    settings = programs.home(folder)
    told: list[WorkerStatus] = []

    async def body() -> None:
        worker = Supervisor(spec("one", code, **more), settings.logs, settings.home / "scratch", told.append)
        await until(lambda: told and told[-1].phase in ("ready", "failed"))
        await worker.stop(0)

    asyncio.run(body())
    return told


def said(address: str) -> str:
    return (
        f"import json, time; print(json.dumps({{'ready': True, 'address': {address!r}}}), flush=True); time.sleep(600)"
    )


@pytest.mark.parametrize(
    ("given", "claimed", "phase"),
    [
        ("unix:/tmp/x/own.sock", "unix:/tmp/x/own.sock", "ready"),
        ("unix:/tmp/x/own.sock", "unix:/tmp/x/admin.sock", "failed"),
        ("unix:/tmp/x/own.sock", "http://127.0.0.1:80", "failed"),
        ("", "http://127.0.0.1:8001", "ready"),
        ("", "http://10.0.0.1:8001", "failed"),
        ("", "http://127.0.0.1:80@10.0.0.1", "failed"),
        ("http://127.0.0.1:0", "http://127.0.0.1:8001", "ready"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8001", "failed"),
    ],
)
def test_a_worker_cannot_send_traffic_elsewhere(tmp_path, given, claimed, phase):
    """It may say its own address or a port of loopback: what it is told to listen on, the gateway connects to."""
    given, claimed = (text.replace("/tmp/x", str(tmp_path)) for text in (given, claimed))
    told = followed(tmp_path, said(claimed), address=given, fast_crashes_max=1)
    assert phase in [status.phase for status in told]
    if phase == "failed":
        assert "at an address that is not its own" in next(s.reason for s in told if s.phase == "failed")


@pytest.mark.parametrize("line", ["{" * 50_000, '{"ready": 1}', '["ready"]', "ready", '{"ready": true', "\xff\x00"])
def test_what_is_not_the_ready_line_is_only_logged(tmp_path, line):
    """Nonsense does not make a worker ready, nor harm the host."""
    code = f"import sys; print({line!r}); sys.exit(1)"
    assert [status.phase for status in followed(tmp_path, code, fast_crashes_max=1)][-2:] == ["failed", "stopped"]


def test_a_worker_that_has_served_long_may_crash_again_and_again(tmp_path, monkeypatch):
    """Only deaths before it was ready, or soon after the start, count towards giving up."""
    monkeypatch.setattr("headrace.substrates.supervisor.FAST_CRASH_S", 0.0)
    monkeypatch.setattr("headrace.substrates.supervisor.BACKOFF_FIRST_S", 0.01)
    settings = programs.home(tmp_path)
    told: list[WorkerStatus] = []

    async def body() -> None:
        one = spec("one", programs.GOOD, fast_crashes_max=2)
        worker = Supervisor(one, settings.logs, settings.home / "scratch", told.append)
        for restarts in range(4):
            status = await until(lambda restarts=restarts: ready_after(told, restarts))
            os.kill(status.pid, signal.SIGKILL)
        await until(lambda: ready_after(told, 4))
        await worker.stop(0)

    asyncio.run(body())
    incarnations = [status.incarnation for status in told if status.phase == "ready"]
    assert len(set(incarnations)) == 5
    assert "failed" not in [status.phase for status in told]


def ready_after(told: list[WorkerStatus], restarts: int) -> WorkerStatus | None:
    return next((status for status in told if status.phase == "ready" and status.restarts == restarts), None)


def test_nothing_of_an_incarnation_is_left_for_the_next(tmp_path):
    """Scratch files and a stale socket are gone before the start, and after the end."""
    settings = programs.home(tmp_path)
    sock = settings.run / "engine-one.sock"
    sock.write_text("stale")
    code = (
        "import os, sys; print(os.listdir('.'), os.path.exists(sys.argv[1]), flush=True);open('left', 'w'); sys.exit(1)"
    )
    told: list[WorkerStatus] = []

    async def body() -> list[str]:
        one = spec("one", code, str(sock), address=f"unix:{sock}", fast_crashes_max=2)
        worker = Supervisor(one, settings.logs, settings.home / "scratch", told.append)
        await until(lambda: told and told[-1].phase == "failed")
        await worker.stop(0)
        return [line for line in worker.log.lines if line.startswith("[")]

    assert asyncio.run(body()) == ["[] False", "[] False"]
    assert not (settings.home / "scratch/one").exists()


def test_a_stop_during_the_back_off_does_not_wait_for_it(tmp_path, monkeypatch):
    """Between two starts there is nothing to end."""
    monkeypatch.setattr("headrace.substrates.supervisor.BACKOFF_FIRST_S", 600.0)
    settings = programs.home(tmp_path)
    told: list[WorkerStatus] = []

    async def body() -> None:
        one = spec("one", programs.CRASH)
        worker = Supervisor(one, settings.logs, settings.home / "scratch", told.append)
        await until(lambda: told and told[-1].reason == "exited with status 3")
        async with asyncio.timeout(5):
            await worker.stop(10_000_000)

    asyncio.run(body())
    assert told[-1].phase == "stopped"


def stopped(folder: Path, code: str, when: str, grace_us: int) -> list[WorkerStatus]:
    """All that is told of a worker that is stopped in this phase."""
    settings = programs.home(folder)
    told: list[WorkerStatus] = []

    async def body() -> None:
        worker = Supervisor(spec("one", code), settings.logs, settings.home / "scratch", told.append)
        await until(lambda: worker.status.phase == when)
        async with asyncio.timeout(5):
            await worker.stop(grace_us)
        await asyncio.sleep(0.05)  # nothing is started after the end

    asyncio.run(body())
    return told


def test_a_worker_stopped_before_its_start_is_never_started(tmp_path):
    """The wish to end came before there was a process."""
    assert [(status.phase, status.pid) for status in stopped(tmp_path, programs.GOOD, "pending", 0)] == [("stopped", 0)]


def group(leader: int) -> list[int]:
    """Living processes of a group."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit():
                state, _, pgrp = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
                if int(pgrp) == leader and state not in "ZX":
                    found.append(int(entry.name))
    return found


DEAF_AND_NOT_ALONE = (
    programs.SAY_READY + "signal.signal(signal.SIGTERM, signal.SIG_IGN); os.fork()\n" + "time.sleep(600)"
)


@pytest.mark.parametrize("code", [programs.NEVER, DEAF_AND_NOT_ALONE], ids=["willing", "deaf"])
def test_a_worker_stopped_while_it_starts_is_gone(tmp_path, code):
    """Asked, and after the grace made to; with its helpers; it is not started again, and leaves no files."""
    told = stopped(tmp_path, code, "starting", 100_000)
    assert [status.phase for status in told] == ["starting", "stopped"]
    (pid,) = {status.pid for status in told} - {0}
    assert group(pid) == []
    assert not (tmp_path / "home/scratch/one").exists()


def test_a_worker_that_does_not_fall_asleep_in_time_is_started_anew(tmp_path, monkeypatch):
    """It would hold its memory, and nobody would send it anything."""
    monkeypatch.setattr(supervisor, "SLEEP_S", 0.05)
    settings, told = programs.home(tmp_path), []

    async def body() -> None:
        one = spec("one", programs.SLEEPLESS, rest=Rest())
        worker = Supervisor(one, settings.logs, settings.home / "scratch", told.append)
        await until(lambda: told and told[-1].phase == "ready")
        await worker.sleep(told[-1].incarnation)
        await until(lambda: told[-1].phase == "ready" and told[-1].restarts == 1)
        await worker.stop(0)

    asyncio.run(body())
    assert next(s.reason for s in told if s.phase == "starting" and s.reason) == "was not asleep within 0 s"


SERVER = """
import http.server, json, socket, sys
class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def do_POST(self):
        body = self.rfile.read(int(self.headers['content-length'])).decode()
        print(self.path, body, flush=True)
        self.send_response(500 if 'bad' in self.path else 200); self.end_headers()
    def address_string(self):
        return ''
    def log_message(self, *_): pass
class Server(http.server.HTTPServer):
    address_family = socket.AF_UNIX
    def server_bind(self):
        self.socket.bind(self.server_address)
Server(sys.argv[1], Answers).serve_forever()
"""


def test_a_program_of_others_is_asked_by_requests_in_order(tmp_path):
    """On its unix socket: ready when its health answers, asleep and awake when each request was answered well."""
    settings, told = programs.home(tmp_path), []
    path = settings.run / "engine-one" / "e.sock"
    rest = Rest(sleep=(Post("/sleep?level=1"),), wake=(Post("/wake_up"), Post("/rpc", '{"method": "x"}')))

    async def body() -> list[str]:
        one = spec("one", SERVER, str(path), address=f"unix:{path}", ready_path="/health", rest=rest)
        worker = Supervisor(one, settings.logs, settings.home / "scratch", told.append)
        await until(lambda: told and told[-1].phase == "ready")
        await worker.sleep(told[-1].incarnation)
        await until(lambda: told[-1].phase == "asleep")
        await worker.wake(told[-1].incarnation)
        await until(lambda: told[-1].phase == "ready")
        lines = list(worker.log.lines)
        await worker.stop(0)
        return lines

    lines = asyncio.run(body())
    assert [line.strip() for line in lines if line.startswith("/")] == [
        "/sleep?level=1", "/wake_up", '/rpc {"method": "x"}'
    ]  # fmt: skip


def test_a_program_that_refuses_to_sleep_is_started_anew(tmp_path):
    """What it holds then nobody knows."""
    settings, told = programs.home(tmp_path), []
    path = settings.run / "engine-one" / "e.sock"

    async def body() -> None:
        rest = Rest(sleep=(Post("/bad"),))
        one = spec("one", SERVER, str(path), address=f"unix:{path}", ready_path="/health", rest=rest)
        worker = Supervisor(one, settings.logs, settings.home / "scratch", told.append)
        await until(lambda: told and told[-1].phase == "ready")
        await worker.sleep(told[-1].incarnation)
        await until(lambda: told[-1].phase == "ready" and told[-1].restarts == 1)
        await worker.stop(0)

    asyncio.run(body())
