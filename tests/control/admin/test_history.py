"""What a cloud was asked and how it ran, for the twin."""

import csv
import io

from headrace.state.fleet import Lease
from tests.control.admin.test_app import Door, door, error

__all__ = ["door"]
S = 1_000_000


def test_chat_requests_of_a_time_are_a_trace(door: Door):
    """Oldest first, without what came from the prefix cache; first tokens of streams only; no other task."""
    now_us = door.clock.now_us()
    for name, seconds, task, stream in (("a", 20, "chat", True), ("b", 10, "chat", False), ("c", 5, "embed", False)):
        door.used(
            name, "team", task=task, stream=stream, arrived_us=now_us - seconds * S, ended_us=now_us - seconds * S + 9,
            sent_us=1, first_us=300, input_tokens=50, cached_tokens=20, output_tokens=7,
        )  # fmt: skip
    remark, text = door.ask("GET", f"trace?from={now_us - 60 * S}&to={now_us}").text.split("\n", 1)
    assert remark == "# 1 requests of other tasks than chat are left out"
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [(row["input_tokens"], row["output_tokens"], row["ttft_us"]) for row in rows] == [
        ("30", "7", "300"), ("30", "7", "0"),
    ]  # fmt: skip
    assert rows[0]["arrival_s"] < rows[1]["arrival_s"]
    assert len(door.ask("GET", f"trace?from={now_us - 15 * S}&to={now_us}").text.splitlines()) == 3


def test_copies_for_a_shadow_are_no_requests_and_each_has_its_version(door: Door):
    """Who replays a time would copy them again."""
    now_us = door.clock.now_us()
    for name, tenant, version in (("a", "team", "v1"), ("a-shadow", "~shadow", "v2"), ("b", "team", "v2")):
        door.used(
            name, tenant, task="chat", version=version, arrived_us=now_us - 9 * S, ended_us=now_us - 8 * S, sent_us=1
        )
    remark, text = door.ask("GET", f"trace?from={now_us - 60 * S}&to={now_us}").text.split("\n", 1)
    assert remark == "# 1 copies of requests for versions that are only watched are left out"
    assert [row["version"] for row in csv.DictReader(io.StringIO(text))] == ["v1", "v2"]


def test_replicas_time_within_a_span_is_told_with_its_cost(door: Door):
    """Half a minute of a lease that began before, at its share of the device."""
    now_us = door.clock.now_us()
    lease = Lease(
        replica="r", incarnation="1", model="m", version="v1", pool="local", node="n", device="cpu",
        memory_bytes=1, share_ppm=500_000, started_us=now_us - 90 * S, ended_us=now_us - 30 * S,
    )  # fmt: skip
    door.store.lease_put(lease)
    found = door.ask("GET", f"history?from={now_us - 60 * S}&to={now_us}").json()["models"]["m@v1"]
    assert found["replica_us"] == 30 * S
    assert found["cost_nanousd"] == door.control.terms.rates("local")[-1].nanousd_per_hour // 120 // 2
    assert error(door.ask("GET", f"history?from={now_us}&to={now_us - 1}"))[0] == 400
