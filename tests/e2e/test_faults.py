"""Kill anything at any time: real processes, real models; nothing acknowledged is lost, nothing is counted twice."""

import concurrent.futures
import json
import os
import signal
import threading
import time
import urllib.error
import urllib.request

import apsw
import openai
import pytest

from tests.e2e.cloud import Cloud, rss_kib, running

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory, shared_artifacts) -> Cloud:
    with running(tmp_path_factory.mktemp("faults") / "home", artifacts=shared_artifacts) as cloud:
        yield cloud


def engine_of(cloud: Cloud, model: str) -> dict:
    (replica,) = [
        r for r in cloud.get("/headrace/v1/replicas")["replicas"] if r["model"] == model and r["phase"] == "ready"
    ]
    return replica


def rows(cloud: Cloud) -> list[dict]:
    return cloud.get("/headrace/v1/usage?limit=1000")["usage"]


def open_stream(cloud: Cloud, tokens: int = 400):
    body = {
        "model": "smollm2",
        "messages": [{"role": "user", "content": "Tell a long story."}],
        "max_tokens": tokens,
        "stream": True,
    }
    headers = {"Authorization": f"Bearer {cloud.key}", "Content-Type": "application/json"}
    body["ignore_eos"] = True
    request = urllib.request.Request(f"{cloud.url}/v1/chat/completions", json.dumps(body).encode(), headers)
    answer = urllib.request.urlopen(request, timeout=60)
    for line in answer:  # the first piece of the answer proves that the engine is at work
        if line.startswith(b"data: "):
            break
    return answer


def test_a_replica_killed_mid_stream_ends_the_stream_with_an_error_event(cloud):
    """Within a second the client is told, without [DONE]; the record says failed."""
    cloud.chat()
    stream = open_stream(cloud)
    request_id = stream.headers["x-request-id"]
    os.kill(engine_of(cloud, "smollm2")["pid"], signal.SIGKILL)
    start = time.monotonic()
    with stream:
        rest = stream.read().decode()
    assert time.monotonic() - start < 1.5
    assert '"error"' in rest
    assert "[DONE]" not in rest
    told = cloud.json("explain", request_id)
    assert told["request"]["outcome"] == "failed"


def test_buffered_requests_survive_the_death_of_their_replica(cloud):
    """Requests that had sent nothing are tried again after the restart."""
    cloud.chat()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(cloud.chat, f"Tell me about {n}.", max_tokens=200, ignore_eos=True) for n in range(4)]
        cloud.until(lambda: cloud.get("/headrace/v1/status")["in_flight"] >= 4, what="four requests in flight")
        os.kill(engine_of(cloud, "smollm2")["pid"], signal.SIGKILL)
        answers = [future.result() for future in asked]
    assert [answer["usage"]["completion_tokens"] for answer in answers] == [200] * 4


def test_a_client_that_leaves_frees_the_slot_within_a_second(cloud):
    """Hanging up cancels the work and leaves a record that says how far it came."""
    cloud.chat()
    stream = open_stream(cloud)
    request_id = stream.headers["x-request-id"]
    stream.close()
    start = time.monotonic()
    cloud.until(lambda: cloud.get("/headrace/v1/status")["in_flight"] == 0, what="the slot to be free")
    assert time.monotonic() - start < 2
    told = cloud.until(lambda: cloud.json("explain", request_id), what="the record")
    assert told["request"]["outcome"] == "cancelled"
    assert 0 < told["request"]["output_tokens"] < 400


def test_a_stopped_replica_is_found_and_replaced(cloud):
    """SIGSTOP: the hang is noticed, the replica killed, and the waiting request answered by its successor."""
    cloud.chat()
    pid = engine_of(cloud, "smollm2")["pid"]
    os.kill(pid, signal.SIGSTOP)
    start = time.monotonic()
    assert cloud.chat()["choices"]
    assert time.monotonic() - start < 15
    assert engine_of(cloud, "smollm2")["pid"] != pid


def test_the_controllers_death_fails_no_request_and_its_successor_adopts(cloud):
    """Requests go on while the controller is away; no replica restarts."""
    cloud.chat()
    pid = engine_of(cloud, "smollm2")["pid"]
    (controller,) = cloud.pids("controller")
    os.kill(controller, signal.SIGKILL)
    assert cloud.chat()["choices"]
    cloud.until(lambda: cloud.get("/headrace/v1/status"), what="the controller to be back")
    assert cloud.until(lambda: engine_of(cloud, "smollm2"), what="adoption")["pid"] == pid
    assert cloud.chat()["choices"]


def test_a_killed_gateway_comes_back_and_its_open_requests_are_settled(cloud):
    """The stream it carried ends; its record is written by the bookkeeper, once."""
    cloud.chat()
    stream = open_stream(cloud)
    request_id = stream.headers["x-request-id"]
    for pid in cloud.pids("gateway"):
        os.kill(pid, signal.SIGKILL)
    with stream, pytest.raises(Exception, match=r"(?i)incomplete|reset|closed"):
        stream.read()
        raise ConnectionError("closed without an end")  # a clean EOF of the socket is an end without [DONE] too
    cloud.until(lambda: cloud.chat()["choices"], what="the gateway to be back")
    settled = cloud.until(
        lambda: [row for row in rows(cloud) if row["request"] == request_id], what="the record of the open request"
    )
    assert [row["code"] for row in settled] == ["gateway_lost"]


def test_a_client_that_stops_reading_costs_bounded_memory(cloud):
    """A stalled reader does not make the gateway buffer without end."""
    cloud.chat()
    import socket

    body = json.dumps(
        {"model": "smollm2", "messages": [{"role": "user", "content": "Go on."}], "max_tokens": 300, "stream": True}
    )
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {cloud.key}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    before = {pid: rss_kib(pid) for pid in cloud.pids("gateway")}
    stalled = []
    for _ in range(4):
        line = socket.create_connection(("127.0.0.1", cloud.port))
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        line.sendall((head + body).encode())
        stalled.append(line)
    cloud.until(lambda: cloud.get("/headrace/v1/status")["in_flight"] == 0, 60, "the answers to be produced")
    after = {pid: rss_kib(pid) for pid in cloud.pids("gateway")}
    for line in stalled:
        line.close()
    assert max(after[pid] - before[pid] for pid in before) < 8 * 1024


def test_everything_killed_at_once_restarts_clean_and_loses_no_record(tmp_path, shared_artifacts):
    """Every acknowledged answer has exactly one row after kill -9 of all processes, and the cloud starts again."""
    home = tmp_path / "home"
    acknowledged: dict[str, int] = {}
    with running(home, artifacts=shared_artifacts) as cloud:
        cloud.chat()
        stop = threading.Event()

        def ask() -> None:
            with openai.OpenAI(base_url=f"{cloud.url}/v1", api_key=cloud.key, max_retries=0) as client:
                while not stop.is_set():
                    try:
                        answer = client.embeddings.with_raw_response.create(model="minilm", input="one two three")
                    except openai.OpenAIError:
                        continue
                    acknowledged[answer.headers["x-request-id"]] = answer.parse().usage.prompt_tokens

        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        cloud.until(lambda: len(acknowledged) > 200, 60, "traffic")
        for role in ("engine", "gateway", "controller", "host"):
            for pid in cloud.pids(role):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
        stop.set()
        for thread in threads:
            thread.join()
        gone = lambda: not any(cloud.pids(role) for role in ("host", "controller", "gateway", "engine"))  # noqa: E731
        cloud.until(gone, what="all to be gone")
        cloud.run("up", "--detach", "--listen", f"127.0.0.1:{cloud.port}")
        assert cloud.chat()["choices"]
        cloud.get("/headrace/v1/usage?limit=1")
    database = apsw.Connection(str(home / "headrace.db"), flags=apsw.SQLITE_OPEN_READONLY)
    counted = dict(database.execute("SELECT request, input_tokens FROM usage WHERE model = 'minilm'"))
    total = database.execute("SELECT count(*), count(DISTINCT request) FROM usage").fetchone()
    database.close()
    assert {request: counted.get(request) for request in acknowledged} == acknowledged
    assert total[0] == total[1]
