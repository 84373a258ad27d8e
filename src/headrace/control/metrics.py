"""What Prometheus is told, made from usage records and from the fleet; docs/metrics.md lists every name.

Labels never hold a key, a request or a prompt. Tenants are capped: those beyond the first 50 are counted as `other`.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest

from headrace.specs.catalog import Catalog
from headrace.state.demand import Demand
from headrace.state.fleet import Fleet
from headrace.state.usage import Usage

TENANTS_MAX: Final = 50
PHASES: Final = ("pending", "starting", "ready", "draining", "lost", "failed")
_FAST: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_TOKEN: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2.5)


class Metrics:
    """One registry, fed by the bookkeeper and the loop."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        by_model = ["model"]
        self._requests = Counter(
            "headrace_requests", "Requests that ended", ["model", "tenant", "outcome"], registry=registry
        )
        self._tokens = Counter("headrace_tokens", "Tokens", ["model", "tenant", "kind"], registry=registry)
        self._ttft = Histogram(
            "headrace_time_to_first_token_seconds", "Arrival to first byte of the answer", by_model, buckets=_FAST,
            registry=registry,
        )  # fmt: skip
        self._tpot = Histogram(
            "headrace_time_per_output_token_seconds", "Time per token after the first", by_model, buckets=_TOKEN,
            registry=registry,
        )  # fmt: skip
        self._whole = Histogram(
            "headrace_request_duration_seconds", "Arrival to end", by_model, buckets=_FAST, registry=registry
        )
        self._queue = Histogram(
            "headrace_queue_duration_seconds", "Arrival to a replica", by_model, buckets=_FAST, registry=registry
        )
        self._busy = Counter("headrace_busy_seconds", "Time requests held a slot", by_model, registry=registry)
        self._cold = Counter(
            "headrace_cold_requests", "Requests that met a sleeping model", by_model, registry=registry
        )
        self._starts = Counter("headrace_replica_starts", "Replicas that became ready", by_model, registry=registry)
        self._start_time = Histogram(
            "headrace_replica_start_seconds", "Launch to ready", by_model, buckets=_FAST, registry=registry
        )
        self._replicas = Gauge("headrace_replicas", "Replicas by phase", ["model", "phase"], registry=registry)
        names = ["model_name"]
        self._running = Gauge("vllm:num_requests_running", "Requests at work", names, registry=registry)
        self._waiting = Gauge("vllm:num_requests_waiting", "Requests held", names, registry=registry)
        self._vllm_ttft = Histogram(
            "vllm:time_to_first_token_seconds", "As headrace_time_to_first_token_seconds", names, buckets=_FAST,
            registry=registry,
        )  # fmt: skip
        self._tenants: set[str] = set()

    def ended(self, row: Usage) -> None:
        """Count one request."""
        tenant = self._tenant(row.tenant)
        self._requests.labels(row.model, tenant, row.outcome).inc()
        for kind, count in (
            ("input", row.input_tokens - row.cached_tokens),
            ("cached", row.cached_tokens),
            ("output", row.output_tokens),
        ):
            if count > 0:
                self._tokens.labels(row.model, tenant, kind).inc(count)
        if row.cold:
            self._cold.labels(row.model).inc()
        if not row.replica:
            return
        total_us = row.ended_us - row.arrived_us
        self._busy.labels(row.model).inc(row.busy_us / 1e6)
        self._queue.labels(row.model).observe(row.queue_us / 1e6)
        self._whole.labels(row.model).observe(total_us / 1e6)
        if row.first_us:
            self._ttft.labels(row.model).observe(row.first_us / 1e6)
            self._vllm_ttft.labels(row.model).observe(row.first_us / 1e6)
            if row.stream and row.output_tokens > 1 and row.outcome == "finished":
                self._tpot.labels(row.model).observe((total_us - row.first_us) / (row.output_tokens - 1) / 1e6)

    def started(self, model: str, took_us: int) -> None:
        """A replica became ready."""
        self._starts.labels(model).inc()
        self._start_time.labels(model).observe(took_us / 1e6)

    def render(self, catalog: Catalog, fleet: Fleet, demand: Mapping[str, Demand]) -> bytes:
        """The exposition text, with the fleet as it is now."""
        for name in catalog.names():
            mine = [replica for replica in fleet.replicas if replica.model == name]
            for phase in PHASES:
                self._replicas.labels(name, phase).set(sum(replica.phase == phase for replica in mine))
            asked = [found for found in demand.values() if found.model == name]
            self._running.labels(name).set(sum(found.in_flight for found in asked))
            self._waiting.labels(name).set(sum(found.queued for found in asked))
        return generate_latest(self.registry)

    def names(self) -> Iterable[str]:
        """Every metric there is."""
        return sorted(metric.name for metric in self.registry.collect())

    def _tenant(self, name: str) -> str:
        if name not in self._tenants:
            if len(self._tenants) >= TENANTS_MAX:
                return "other"
            self._tenants.add(name)
        return name
