"""Room for one replica, and a version that is bad: it is taken back by itself, and nobody who asked goes without."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cloud import Cloud, running
from tests.e2e.test_versions import MODEL, Traffic, embed, rollout

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

CLOUD = f"""\
version: 1
pools:
  tight: {{accelerator: cpu, count: 1, memory: 400MiB, cpus: 1, price_per_hour: 0.08}}
models:
  tight:
{MODEL}    placement: [tight]
    objective: {{ttft: 60ms}}
    versions:
      v1: {{}}
      v2: {{weight: 0, engine: {{kind: onnx, slots: 8, context: 256, threads: 1}}}}
      broken: {{weight: 0, source: "file://WEIGHTS"}}
"""


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory, shared_artifacts: Path) -> Iterator[Cloud]:
    folder = tmp_path_factory.mktemp("alone")
    weights = folder / "weights"
    weights.mkdir()
    for name in ("model.onnx", "tokenizer.json"):
        (weights / name).write_text("these are no weights")
    (folder / "cloud.yaml").write_text(CLOUD.replace("WEIGHTS", str(weights)))
    with running(folder / "home", artifacts=shared_artifacts, spec=folder / "cloud.yaml") as cloud:
        yield cloud


@contextlib.contextmanager
def slowed(cloud: Cloud, but: set[int]) -> Iterator[None]:
    """Every engine that begins meanwhile works a tenth of the time: what it serves is right, and late."""
    over = threading.Event()

    def every(number: int) -> None:
        for pid in set(cloud.pids("engine")) - but:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def slow() -> None:
        while not over.is_set():
            every(signal.SIGSTOP)
            time.sleep(0.18)
            every(signal.SIGCONT)
            time.sleep(0.02)
        every(signal.SIGCONT)

    thread = threading.Thread(target=slow)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_a_slow_version_that_took_the_only_place_is_taken_back_and_no_request_is_lost(cloud: Cloud) -> None:
    embed(cloud, "tight")
    with Traffic(cloud, "tight") as traffic:
        cloud.until(lambda: traffic.answered > 60, what="a past to compare with")
        before = set(cloud.pids("engine"))
        with slowed(cloud, before):  # from its start on: once it answers, fifty requests are soon judged
            cloud.run("model", "deploy", "tight@v2")
            found = cloud.until(
                lambda: (now := rollout(cloud, "tight"))["phase"] in ("rolled_back", "promoted") and now, 150, "the end"
            )
        answered = traffic.answered
        cloud.until(lambda: traffic.answered > answered + 60, 60, "traffic after it")
    assert found["phase"] == "rolled_back", found
    assert "more late first tokens" in found["reason"] or "more dear tokens" in found["reason"]
    assert "with v1, before; evidence" in found["reason"]
    assert traffic.wrong == {}
    assert found["weights"] == {"v1": 100, "v2": 0, "broken": 0}
    told = cloud.json("explain", "tight@v2")["text"]
    assert any("rollout.rolled_back" in line and "with v1, before" in line for line in told)
    assert any("v1 gives its place" in line for line in told)


def test_a_version_that_cannot_start_gives_the_place_back_and_no_request_is_lost(cloud: Cloud) -> None:
    with Traffic(cloud, "tight") as traffic:
        cloud.until(lambda: traffic.answered > 20, what="traffic")
        cloud.run("model", "deploy", "tight@broken")
        cloud.until(lambda: rollout(cloud, "tight")["phase"] == "rolled_back", 120, "the way back")
        answered = traffic.answered
        cloud.until(lambda: traffic.answered > answered + 60, 60, "traffic after it")
    assert traffic.wrong == {}
    assert "cannot be served" in rollout(cloud, "tight")["reason"]


def test_why_it_cannot_start_is_told_once_and_it_is_not_tried_again(cloud: Cloud) -> None:
    events = cloud.json("events", "--subject", "tight@broken")["events"]
    (told,) = [event["reason"] for event in events if event["kind"] == "model.unprepared"]
    assert f"! tight@broken: {told}" in cloud.run("status").stdout
    assert any(line.startswith("fault") and told in line for line in cloud.json("explain", "tight@broken")["text"])
