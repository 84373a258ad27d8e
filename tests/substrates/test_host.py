"""The host as a real process, with a controller and gateways that are small programs."""

import contextlib
import fcntl
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.settings import Settings, interpreter
from tests.substrates.programs import alive, free_port, home

HOST = """
import asyncio, json, sys
from pathlib import Path
from headrace.settings import Settings
from headrace.substrates import host
home, listen, controller, gateways = json.loads(sys.argv[1])
settings = Settings(home=Path(home), listen=listen)
sys.exit(asyncio.run(host.serve(settings, controller, gateways, on_ready=lambda: print("ready", flush=True))))
"""
# A controller that launches the workers it was told of, and writes down what it sees.
CONTROLLER = """
import asyncio, json, os, sys
from pathlib import Path
from headrace.ports import WorkerSpec
from headrace.settings import Settings
from headrace.substrates.local import LocalSubstrate
home, specs, seen = sys.argv[1], json.loads(sys.argv[2]), Path(sys.argv[3])
def write(seen, found):
    seen.with_suffix(".new").write_text(json.dumps({"controller": os.getpid(), **found}))
    seen.with_suffix(".new").replace(seen)
async def main():
    substrate = LocalSubstrate(Settings(home=Path(home)))
    await substrate.start()
    for name, argv in specs.items():
        await substrate.launch(WorkerSpec(id=name, argv=tuple(argv)))
    found = {}
    write(seen, found)
    async for status in substrate.watch():
        found[status.id] = [status.phase, status.pid, status.incarnation]
        write(seen, found)
asyncio.run(main())
"""
GATEWAY = """
import http.server as h, os, socket, sys
class Server(h.ThreadingHTTPServer):
    def server_bind(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        super().server_bind()
class Answer(h.BaseHTTPRequestHandler):
    def do_GET(self):
        body = str(os.getpid()).encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers(); self.wfile.write(body)
    def log_message(self, *words): pass
Server(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
"""
SLEEP = [sys.executable, "-I", "-S", "-c", "import time; print('{\"ready\": true}', flush=True); time.sleep(600)"]
# Its helper is in a session of its own, so that neither the group's end nor the parent's takes it along.
STRAY = [
    sys.executable, "-I", "-c",
    "import subprocess, sys, time\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)\n"
    "print('helper', child.pid, flush=True); print('{\"ready\": true}', flush=True); time.sleep(600)",
]  # fmt: skip


class Running:
    """One host process."""

    def __init__(
        self, folder: Path, *, workers: dict[str, list[str]], controller: list[str], gateway: list[str]
    ) -> None:
        self.settings = Settings(home=home(folder).home, listen=f"127.0.0.1:{free_port()}")
        self.seen_file = folder / "seen.json"
        python = [*interpreter(), "-c"]
        words = [str(self.settings.home), json.dumps(workers), str(self.seen_file)]
        self.argv = [
            *python,
            HOST,
            json.dumps(
                [
                    str(self.settings.home),
                    self.settings.listen,
                    controller or [*python, CONTROLLER, *words],
                    [gateway or [*python, GATEWAY, str(self.settings.port)]] * 2,
                ]
            ),
        ]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self.argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def ready(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n", self.process.communicate()

    def seen(self) -> dict[str, Any]:
        with contextlib.suppress(OSError):
            found: dict[str, Any] = json.loads(self.seen_file.read_text())
            return found
        return {}

    def worker(self, name: str, phase: str = "ready") -> list[Any]:
        return until(lambda: self.seen().get(name) if self.seen().get(name, [""])[0] == phase else None)

    def gateways(self) -> set[int]:
        """The gateways' process ids, asked through the door until two have answered."""
        found: set[int] = set()

        def both() -> bool:
            line = http.client.HTTPConnection("127.0.0.1", self.settings.port, timeout=5)
            with contextlib.suppress(OSError, http.client.HTTPException):
                line.request("GET", "/health")
                found.add(int(line.getresponse().read()))
            line.close()
            return len(found) == 2

        until(both)
        return found

    def all_pids(self) -> set[int]:
        return {self.process.pid, until(self.seen)["controller"], *self.gateways()}


def opened(pid: int) -> set[str]:
    """Names of the files that a process has open."""
    found = set()
    for one in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.add(one.readlink().name)
    return found


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    made: list[Running] = []

    def start(
        workers: dict[str, list[str]] | None = None,
        controller: list[str] | None = None,
        gateway: list[str] | None = None,
    ) -> Running:
        made.append(Running(tmp_path, workers=workers or {}, controller=controller or [], gateway=gateway or []))
        return made[-1]

    yield start
    for one in made:
        one.process.kill()
        one.process.communicate()


def until(found: Callable[[], Any], seconds: float = 20) -> Any:
    end = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)
    return value


def test_a_controllers_death_leaves_the_workers_and_its_successor_adopts_them(run):
    """The same process and incarnation, seen by another controller."""
    cloud = run({"one": SLEEP})
    cloud.ready()
    before, first = cloud.worker("one"), cloud.seen()["controller"]
    os.kill(first, signal.SIGKILL)
    until(lambda: cloud.seen()["controller"] != first)
    assert cloud.worker("one") == before
    assert alive(before[1])


def test_a_gateway_that_dies_is_started_again(run):
    """At once, and the other one answers meanwhile."""
    cloud = run()
    cloud.ready()
    before = cloud.gateways()
    victim = min(before)
    os.kill(victim, signal.SIGKILL)
    until(lambda: not alive(victim))
    after = cloud.gateways()
    assert after & before == before - {victim}
    assert len(after) == 2


def test_a_host_that_is_killed_takes_everything_with_it(run):
    """kill -9: the kernel ends controller, gateways and workers."""
    cloud = run({"one": SLEEP, "two": SLEEP})
    cloud.ready()
    pids = cloud.all_pids() | {cloud.worker("one")[1], cloud.worker("two")[1]}
    cloud.process.kill()
    until(lambda: not any(alive(pid) for pid in pids))
    assert len(pids) == 6


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_workers_that_still_start_end_with_their_host(run, number):
    """Not ready yet, deaf to SIGTERM: killed with the host by the kernel, or by the host before it ends."""
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True)"
    cloud = run({"one": [sys.executable, "-I", "-S", "-c", f"{deaf}; time.sleep(600)"]})
    cloud.ready()
    pid = cloud.worker("one", "starting")[1]
    until(lambda: [log.read_text() for log in cloud.settings.logs.glob("one.log")] == ["deaf\n"])
    cloud.process.send_signal(number)
    cloud.process.communicate(timeout=20)
    until(lambda: not alive(pid))


def test_what_escaped_a_killed_host_is_ended_by_its_successor(run):
    """A helper in a session of its own outlives the host, and not the next start; which is not disturbed by the rest."""
    cloud = run({"one": STRAY})
    cloud.ready()
    cloud.worker("one")
    log = (cloud.settings.logs / "one.log").read_text()
    helper = int(log.split("helper ")[1].split()[0])
    cloud.process.kill()
    cloud.process.communicate()
    cloud.start()
    cloud.ready()
    assert not alive(helper)


def test_what_escaped_a_worker_is_ended_with_it(run):
    """The next incarnation does not find the helpers of the last one."""
    cloud = run({"one": STRAY})
    cloud.ready()
    before = cloud.worker("one")
    helper = int((cloud.settings.logs / "one.log").read_text().split("helper ")[1].split()[0])
    os.kill(before[1], signal.SIGKILL)
    until(lambda: cloud.worker("one")[2] != before[2])
    assert not alive(helper)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_everything_in_order_and_well(run, number):
    """Exit status 0, nothing left, nothing printed but that it was ready."""
    cloud = run({"one": SLEEP})
    cloud.ready()
    pids = cloud.all_pids() | {cloud.worker("one")[1]}
    cloud.process.send_signal(number)
    said, complained = cloud.process.communicate(timeout=20)
    assert (cloud.process.returncode, said, complained) == (0, "", "")
    assert not any(alive(pid) for pid in pids)


def test_sockets_outside_of_the_home_go_with_the_host(run):
    """A home with a long name has them elsewhere, where nobody would clear up; after that it starts as before."""
    cloud = run()
    cloud.ready()
    assert cloud.settings.run.parent != cloud.settings.home
    for _ in range(2):
        assert (cloud.settings.run / "host.pid").read_text() == str(cloud.process.pid)
        cloud.process.terminate()
        cloud.process.communicate(timeout=20)
        assert not cloud.settings.run.exists()
        cloud.start()
        cloud.ready()


def test_who_waits_for_a_host_that_ends_holds_the_home_alone(run):
    """The lock it waited for is of a file that goes with the folder: it takes the one that has the name."""
    cloud = run()
    cloud.ready()
    file = (cloud.settings.run / "host.pid").open("r+")
    cloud.process.kill()
    cloud.process.communicate()
    fcntl.flock(file, fcntl.LOCK_EX)
    file.truncate(0)  # as one that has not told who it is
    cloud.start()
    until(lambda: "host.pid" in opened(cloud.process.pid))
    shutil.rmtree(cloud.settings.run)
    file.close()
    cloud.ready()
    assert (cloud.settings.run / "host.pid").read_text() == str(cloud.process.pid)


def test_a_second_signal_does_not_wait(run):
    """A gateway that never finishes draining is killed."""
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + GATEWAY
    cloud = run()
    cloud.process.kill()
    cloud.process.communicate()
    data = json.loads(cloud.argv[-1])
    data[3] = [[*argv[:-2], deaf, argv[-1]] for argv in data[3]]
    cloud.argv[-1] = json.dumps(data)
    cloud.start()
    cloud.ready()
    pids = cloud.gateways()
    cloud.process.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        cloud.process.wait(0.3)
    cloud.process.send_signal(signal.SIGTERM)
    assert cloud.process.wait(10) == 0
    assert not any(alive(pid) for pid in pids)


def test_one_host_a_home(run):
    """The second one says who is there, and leaves the first alone."""
    cloud = run()
    cloud.ready()
    second = subprocess.run(cloud.argv, capture_output=True, text=True, timeout=20)
    assert second.returncode == 1
    assert second.stderr == f"headrace is already running in {cloud.settings.home} (process {cloud.process.pid})\n"
    assert len(cloud.gateways()) == 2


def test_a_killed_host_does_not_keep_its_successor_waiting(run):
    """The pid file of a dead process locks nobody out."""
    cloud = run()
    cloud.ready()
    cloud.process.kill()
    cloud.process.communicate()
    cloud.start()
    cloud.ready()
    assert len(cloud.gateways()) == 2


def test_a_port_in_use_is_told_with_the_fix(run):
    """Before anything is started."""
    with socket.socket() as taken:
        cloud = run()
        cloud.process.kill()
        cloud.process.communicate()
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", cloud.settings.port))
        taken.listen()
        cloud.start()
        _, complained = cloud.process.communicate(timeout=20)
        assert cloud.process.returncode == 1
        assert complained == (
            f"cannot listen on {cloud.settings.listen}: Address already in use; "
            f"give another address with --listen HOST:PORT, or end what listens there\n"
        )


def test_a_gateway_that_cannot_start_ends_the_host_with_what_it_said(run):
    """No silent loop at the first start."""
    cloud = run(gateway=[sys.executable, "-I", "-c", "import sys; print('no table'); sys.exit(7)"])
    _, complained = cloud.process.communicate(timeout=20)
    assert cloud.process.returncode == 1
    assert "exited with status 7, 3 times; it said last:\nno table" in complained


def test_only_the_controller_may_ask(run):
    """Another process of the same user, which a replica is, gets no answer on the host's socket."""
    cloud = run({"one": SLEEP})
    cloud.ready()
    cloud.worker("one")
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(10)
        line.connect(str(cloud.settings.host_socket))
        answer = b""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            line.sendall(b'{"id":1,"op":"workers"}\n')
            answer = line.recv(100)
        assert answer == b""
    assert oct(cloud.settings.host_socket.stat().st_mode)[-3:] == "600"
    assert oct(cloud.settings.run.stat().st_mode)[-3:] == "700"


def test_the_host_stays_small(run):
    """It is always there, so its own memory is bounded; no thread but one, since it forks."""
    cloud = run({"one": SLEEP})
    cloud.ready()
    cloud.worker("one")
    status = Path(f"/proc/{cloud.process.pid}/status").read_text()
    found = {name: int(figure) for name, figure in re.findall(r"^(VmRSS|Threads):\s+(\d+)", status, re.MULTILINE)}
    assert found["VmRSS"] < 32 * 1024
    assert found["Threads"] == 1
