"""Prometheus: bounded labels, whole units, no name undocumented."""

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from headrace.control.metrics import TENANTS_MAX, Metrics
from headrace.state.demand import Demand
from headrace.state.fleet import Device, Fleet, Replica
from headrace.state.usage import Usage
from tests.control.sim import GIB, catalog, model

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"
FLEET = Fleet(
    devices=(Device(node="local", device="cpu", pool="local", memory_bytes=4 * GIB, cpus=2),),
    replicas=(
        Replica(
            id="m-1", model="m", version="v1", digest="d", pool="local", node="local", device="cpu",
            memory_bytes=GIB, slots=4, phase="ready",
        ),
    ),
    at_us=0,
)  # fmt: skip


@pytest.fixture
def metrics() -> Metrics:
    made = Metrics()
    made.wanted(catalog(model()))
    return made


def row(**more: object) -> Usage:
    fields = {
        "request": "req_1", "epoch": "e", "tenant": "acme", "key": "kkkkkkkkkkkk", "model": "m", "task": "chat",
        "outcome": "finished", "status": 200, "arrived_us": 0, "ended_us": 2_000_000, "replica": "m-1", "stream": True,
        "first_us": 1_000_000, "queue_us": 500_000, "busy_us": 1_500_000, "input_tokens": 10, "cached_tokens": 4,
        "output_tokens": 11, "cold": True,
    }  # fmt: skip
    return Usage(**(fields | more))  # type: ignore[arg-type]


def values(metrics: Metrics, names: str = "all", demand: dict[str, Demand] | None = None) -> dict[str, float]:
    text = metrics.render(FLEET, demand or {}, 2, names).decode()
    return {
        sample.name + "".join(f",{k}={v}" for k, v in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_request_is_counted_in_seconds_and_tokens(metrics):
    """Cached tokens are told apart from those that were computed; time per token leaves the first one out."""
    metrics.ended(row())
    seen = values(metrics)
    assert seen["headrace_requests_total,model=m,outcome=finished,tenant=acme"] == 1
    assert [seen[f"headrace_tokens_total,kind={k},model=m,tenant=acme"] for k in ("input", "cached", "output")] == [
        6,
        4,
        11,
    ]
    assert seen["headrace_time_to_first_token_seconds_sum,model=m"] == 1
    assert seen["headrace_time_per_output_token_seconds_sum,model=m"] == 0.1
    assert seen["headrace_request_duration_seconds_sum,model=m"] == 2
    assert seen["headrace_queue_duration_seconds_sum,model=m"] == 0.5
    assert seen["headrace_busy_seconds_total,model=m"] == 1.5
    assert seen["headrace_cold_requests_total,model=m"] == 1
    assert seen["vllm:prompt_tokens_total,model_name=m"] == 10


def test_a_refused_request_has_no_durations(metrics):
    """It never met a replica."""
    metrics.ended(row(outcome="refused", replica="", cold=False, status=429))
    seen = values(metrics)
    assert seen["headrace_requests_total,model=m,outcome=refused,tenant=acme"] == 1
    assert "headrace_request_duration_seconds_count,model=m" not in seen


def test_gauges_show_now_and_forget_models_that_are_gone(metrics):
    """What a catalog no longer has leaves the page."""
    demand = {"m@v1": Demand(model="m", version="v1", window_us=1, in_flight=3, queued=2)}
    seen = values(metrics, demand=demand)
    assert seen["headrace_replicas,model=m,phase=ready"] == 1
    assert (seen["vllm:num_requests_running,model_name=m"], seen["vllm:num_requests_waiting,model_name=m"]) == (3, 2)
    assert seen["headrace_device_memory_used_bytes,device=cpu,pool=local"] == GIB
    assert seen["headrace_gateways"] == 2
    metrics.wanted(catalog())
    assert "headrace_replicas,model=m,phase=ready" not in values(metrics)


def test_labels_are_bounded_and_hold_no_key_and_no_request(metrics):
    """However many tenants and invented models there are."""
    for n in range(TENANTS_MAX + 20):
        metrics.ended(row(tenant=f"t{n}", model=f"invented{n}"))
    page = metrics.render(FLEET, {}, 0).decode()
    assert len(set(re.findall(r'tenant="([^"]+)"', page))) == TENANTS_MAX + 1
    assert set(re.findall(r'model="([^"]+)"', page)) == {"m", "other"}
    assert "kkkkkkkkkkkk" not in page
    assert "req_1" not in page


def test_the_page_follows_prometheus_s_rules_for_names(metrics):
    """What promtool's lint asks: help for all, base units, _total for counters only, and, but for vLLM's, no colon."""
    metrics.ended(row())
    metrics.started("m", 5)
    text = metrics.render(FLEET, {}, 1, "headrace").decode()
    families = list(text_string_to_metric_families(text))
    assert len({family.name for family in families}) == len(families)
    for family in families:
        assert family.documentation
        assert re.fullmatch(r"headrace_[a-z_]+[a-z]", family.name)
        assert not re.search(r"(_ms|_us|millis|minutes|kilobytes|_mb|percent|_count|_sum|_bucket)(_|$)", family.name)
        assert {s.name.endswith("_total") for s in family.samples} <= {family.type == "counter"}
        if family.type == "histogram":
            assert family.name.endswith("_seconds")
    assert "_created" not in text
    assert "vllm:" not in text
    assert "headrace_" not in re.sub(r"(?m)^#.*", "", metrics.render(FLEET, {}, 1, "vllm").decode())


def test_every_metric_is_documented_and_no_other(metrics):
    """docs/metrics.md has one row each."""
    documented = set(re.findall(r"(?m)^\| `([a-z_:0-9]+)`", DOCS.read_text()))
    assert documented == set(metrics.names())
