"""A gateway worker told to end while it works: what it has begun it finishes, and nobody finds the door shut."""

import asyncio
import contextlib
import http.client
import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import upstream
from tests.e2e.cloud import Cloud, running
from tests.gateway import stub
from tests.gateway.stub import DONE, END, STREAM_HEAD, Question, framed, usage, words

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

WORDS = [f"word {number} " for number in range(100)]


@pytest.fixture
def cloud(tmp_path: Path):
    """Two workers before a server that streams slowly to who asks for a stream."""

    async def slowly(question: Question, writer: asyncio.StreamWriter) -> None:
        if not question.body.get("stream"):
            await stub.truthful(question, writer)
            return
        writer.write(STREAM_HEAD)
        for event in words(*WORDS):
            writer.write(framed(event))
            await writer.drain()
            await asyncio.sleep(0.02)
        writer.write(framed(usage(len(WORDS))) + framed(DONE) + END)

    with upstream.serving() as server:
        server.behave = slowly
        with running(tmp_path / "home", spec=upstream.spec(tmp_path, server.url), gateways=2) as cloud:
            cloud.chat(model="theirs")
            cloud.all_listen()
            yield cloud


def ask(line: http.client.HTTPConnection, cloud: Cloud, **more: Any) -> http.client.HTTPResponse:
    body = {"model": "theirs", "messages": [{"role": "user", "content": "Hi"}], **more}
    headers = {"Authorization": f"Bearer {cloud.key}", "Content-Type": "application/json"}
    line.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    return line.getresponse()


def holder(line: http.client.HTTPConnection, cloud: Cloud) -> int:
    """The worker that has this client's connection: the one that is there in the kernel's table of its sockets."""
    port = line.sock.getsockname()[1]
    inodes = set()
    for row in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        local, remote, inode = (row.split()[column] for column in (1, 2, 9))
        if int(local.split(":")[1], 16) == cloud.port and int(remote.split(":")[1], 16) == port:
            inodes.add(f"socket:[{inode}]")
    (pid,) = [pid for pid in cloud.pids("gateway") if inodes & sockets(pid)]
    return pid


def sockets(pid: int) -> set[str]:
    found = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            found.add(str(entry.readlink()))
    return found


def test_a_worker_that_ends_finishes_its_streams_and_refuses_nobody(cloud: Cloud):
    """SIGTERM: the stream comes to its end; those who come meanwhile are served, by the other and then by its successor."""
    line = http.client.HTTPConnection("127.0.0.1", cloud.port, timeout=30)
    failures: list[object] = []
    served = 0
    stop = threading.Event()

    def come() -> None:
        nonlocal served
        while not stop.is_set():
            newcomer = http.client.HTTPConnection("127.0.0.1", cloud.port, timeout=10)
            with contextlib.closing(newcomer):
                try:
                    answer = ask(newcomer, cloud)
                    if answer.status != 200 or not json.loads(answer.read())["choices"]:
                        failures.append(answer.status)
                except (OSError, http.client.HTTPException) as error:
                    failures.append(error)
                else:
                    served += 1

    with contextlib.closing(line):
        answer = ask(line, cloud, stream=True)
        assert answer.readline().startswith(b"data: ")
        ending = holder(line, cloud)
        thread = threading.Thread(target=come)
        thread.start()
        try:
            os.kill(ending, signal.SIGTERM)
            rest = answer.read().decode()
            after_stream = served
            cloud.until(lambda: ending not in cloud.pids("gateway"), what="the worker to end")
            cloud.until(lambda: len(cloud.pids("gateway")) == 2, what="its successor")
            cloud.until(lambda: served > after_stream + 20, what="more traffic")
        finally:
            stop.set()
            thread.join()
    assert failures == []
    assert after_stream > 0
    chunks = [json.loads(event[6:]) for event in rest.split("\n\n") if event.startswith("data: {")]
    said = "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"])
    assert said.endswith("".join(WORDS[1:]))
    assert rest.rstrip().endswith("data: [DONE]")
    told = cloud.json("explain", answer.headers["x-request-id"])
    assert (told["request"]["outcome"], told["request"]["output_tokens"]) == ("finished", len(WORDS))


def test_an_idle_connection_of_an_ending_worker_is_closed_and_not_cut(cloud: Cloud):
    """Its client reads an end, and its next connection is served."""
    line = http.client.HTTPConnection("127.0.0.1", cloud.port, timeout=30)
    with contextlib.closing(line):
        assert ask(line, cloud).read()
        os.kill(holder(line, cloud), signal.SIGTERM)
        assert line.sock.recv(1) == b""
        line.close()
        assert ask(line, cloud).status == 200
