"""A disk that fills up under a running cloud: nothing is answered that cannot be recorded, and it heals by itself."""

import contextlib
import http.client
import json
import subprocess
import threading
import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from headrace.control.bookkeeper import IDLE_S
from tests.e2e import upstream
from tests.e2e.cloud import Cloud, running

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

SIZE = "24m"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small one of its own; where mounting is not allowed there is no real full disk to try."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(place)], capture_output=True
    ).returncode:
        pytest.skip("this user may not mount a file system")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


class Clients:
    """Ask without pause until told to stop; write down what was acknowledged, and how the rest was refused."""

    def __init__(self, cloud: Cloud, count: int = 4) -> None:
        self.acknowledged: set[str] = set()
        self.refused: set[tuple[int, str]] = set()
        self._cloud = cloud
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(count)]

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, number: int) -> None:
        body = {"model": "theirs", "messages": [{"role": "user", "content": "Hi"}], "stream": number % 2 == 1}
        headers = {"Authorization": f"Bearer {self._cloud.key}", "Content-Type": "application/json"}
        while not self._stop.wait(0.002):
            line = http.client.HTTPConnection("127.0.0.1", self._cloud.port, timeout=20)
            with contextlib.closing(line):
                line.request("POST", "/v1/chat/completions", json.dumps(body), headers)
                answer = line.getresponse()
                said = answer.read()
                last = said.rstrip().rpartition(b"data: ")[2]
                if answer.status == 200 and (last == b"[DONE]" or not body["stream"]):
                    self.acknowledged.add(answer.headers["x-request-id"])
                else:
                    self.refused.add((answer.status, json.loads(last)["error"]["code"]))


def fill(disk: Path) -> Path:
    """Take all the space that is left, to the last byte."""
    file = disk / "filler"
    with file.open("ab", buffering=0) as out, contextlib.suppress(OSError):
        while out.write(b"\0" * 65536):
            pass
    with file.open("ab", buffering=0) as out, contextlib.suppress(OSError):
        while out.write(b"\0"):
            pass
    return file


def status_of(cloud: Cloud) -> int:
    try:
        return 200 if cloud.chat(model="theirs")["choices"] else 0
    except urllib.error.HTTPError as error:
        return error.code


def test_a_full_disk_refuses_and_heals(disk: Path, tmp_path: Path):
    """503 while it is full, 200 by itself when it is not; each acknowledged request has exactly one record."""
    home = disk / "home"
    with upstream.serving() as server, running(home, spec=upstream.spec(tmp_path, server.url)) as cloud:
        before = [sorted(cloud.pids(role)) for role in ("host", "controller", "gateway")]
        with Clients(cloud) as clients:
            cloud.until(lambda: len(clients.acknowledged) > 100, what="traffic")
            filler = fill(disk)
            cloud.until(lambda: clients.refused, what="the first refusal")
            fill(disk)  # what the cloud gave back itself, like a segment that was cut
            end = time.monotonic() + 3 * IDLE_S  # long enough for the controller's books to meet it, too
            while time.monotonic() < end:
                cloud.until(lambda: status_of(cloud) == 503, what="requests to be refused")
                assert cloud.get("/headrace/v1/status")["version"]
            full = len(clients.acknowledged)
            filler.unlink()
            cloud.until(lambda: len(clients.acknowledged) > full + 100, what="service to come back")
        assert (503, "storage_unavailable") in clients.refused
        assert clients.refused <= {(503, "storage_unavailable"), (200, "storage_unavailable")}  # a stream had begun
        cloud.until(lambda: cloud.get("/headrace/v1/status"), what="the controller to answer")
        assert [sorted(cloud.pids(role)) for role in ("host", "controller", "gateway")] == before
        assert "is whole" in cloud.run("doctor", check=False).stdout
    database = apsw.Connection(str(home / "headrace.db"), flags=apsw.SQLITE_OPEN_READONLY)
    recorded = [row[0] for row in database.execute("SELECT request FROM usage WHERE outcome = 'finished'")]
    database.close()
    assert clients.acknowledged <= set(recorded)
    assert len(recorded) == len(set(recorded))
    assert "Traceback" not in "".join(log.read_text() for log in (home / "logs").glob("*.log"))
