"""What Prometheus is told, made from usage records and from the fleet; docs/metrics.md lists every name.

Labels never hold a key, a request or a prompt. Models are those of the catalog, tenants the first 50; whatever is
beyond them is counted as `other`. What vLLM has a name for is also given under that name.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest

from headrace import __version__
from headrace.specs.catalog import Catalog
from headrace.state.demand import Demand
from headrace.state.fleet import LIVE, Fleet
from headrace.state.usage import Usage

TENANTS_MAX: Final = 50
OTHER: Final = "other"
PHASES: Final = ("pending", "starting", "ready", "draining", "lost", "failed", "dozing", "asleep", "waking")
_FAST: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_TOKEN: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2.5)
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter


class Metrics:
    """Two registries, Headrace's names and vLLM's, fed by the bookkeeper and the loop."""

    def __init__(self) -> None:
        self.own = own = CollectorRegistry()
        by_model = ["model"]
        self._requests = Counter(
            "headrace_requests", "Requests that ended.", ["model", "tenant", "outcome"], registry=own
        )
        self._tokens = Counter("headrace_tokens", "Tokens, by kind.", ["model", "tenant", "kind"], registry=own)
        self._ttft = _times(
            own, "headrace_time_to_first_token_seconds", "Arrival to the first byte of the answer.", by_model
        )
        self._tpot = _times(
            own, "headrace_time_per_output_token_seconds", "Time per token after the first.", by_model, _TOKEN
        )
        self._whole = _times(own, "headrace_request_duration_seconds", "Arrival to end.", by_model)
        self._queue = _times(own, "headrace_queue_duration_seconds", "Arrival to a replica.", by_model)
        self._busy = Counter("headrace_busy_seconds", "Time requests held a slot.", by_model, registry=own)
        self._cold = Counter("headrace_cold_requests", "Requests that met a sleeping model.", by_model, registry=own)
        self._starts = Counter("headrace_replica_starts", "Replicas that became ready.", by_model, registry=own)
        self._losses = Counter(
            "headrace_replica_losses", "Replicas that ended without being asked to.", by_model, registry=own
        )
        self._start_time = _times(own, "headrace_replica_start_seconds", "Launch of a replica to ready.", by_model)
        self._replicas = Gauge("headrace_replicas", "Replicas, by phase.", ["model", "phase"], registry=own)
        self._in_flight = Gauge("headrace_requests_in_flight", "Requests at a replica.", by_model, registry=own)
        self._held = Gauge("headrace_requests_held", "Requests held for a replica.", by_model, registry=own)
        device = ["pool", "device"]
        self._memory = Gauge("headrace_device_memory_bytes", "Memory of a device.", device, registry=own)
        self._used = Gauge("headrace_device_memory_used_bytes", "Of it, held by replicas.", device, registry=own)
        self._gateways = Gauge("headrace_gateways", "Gateway workers that report.", registry=own)
        info = Gauge("headrace_info", "Always 1; its label is the version.", ["version"], registry=own)
        info.labels(__version__).set(1)
        self.vllm = vllm = CollectorRegistry()
        names = ["model_name"]
        self._running = Gauge("vllm:num_requests_running", "As headrace_requests_in_flight.", names, registry=vllm)
        self._waiting = Gauge("vllm:num_requests_waiting", "As headrace_requests_held.", names, registry=vllm)
        self._prompt = Counter("vllm:prompt_tokens", "Input tokens, cached ones included.", names, registry=vllm)
        self._made = Counter("vllm:generation_tokens", "Output tokens.", names, registry=vllm)
        self._v_ttft = _times(
            vllm, "vllm:time_to_first_token_seconds", "As headrace_time_to_first_token_seconds.", names
        )
        self._v_tpot = _times(
            vllm, "vllm:request_time_per_output_token_seconds", "As headrace_time_per_output_token_seconds.", names,
            _TOKEN,
        )  # fmt: skip
        self._v_whole = _times(vllm, "vllm:e2e_request_latency_seconds", "As headrace_request_duration_seconds.", names)
        self._v_queue = _times(vllm, "vllm:request_queue_time_seconds", "As headrace_queue_duration_seconds.", names)
        self._tenants: set[str] = set()
        self._models: frozenset[str] = frozenset()

    def wanted(self, catalog: Catalog) -> None:
        """These are the models there are; gauges of others go."""
        self._models = frozenset(catalog.names())

    def ended(self, row: Usage) -> None:
        """Count one request."""
        tenant, model = self._tenant(row.tenant), self._model(row.model)
        self._requests.labels(model, tenant, row.outcome).inc()
        for kind, count in (
            ("input", row.input_tokens - row.cached_tokens),
            ("cached", row.cached_tokens),
            ("output", row.output_tokens),
        ):
            if count > 0:
                self._tokens.labels(model, tenant, kind).inc(count)
        if row.cold:
            self._cold.labels(model).inc()
        if not row.replica:
            return
        total_us = max(0, row.ended_us - row.arrived_us)
        self._busy.labels(model).inc(row.busy_us / 1e6)
        self._prompt.labels(model).inc(row.input_tokens)
        self._made.labels(model).inc(row.output_tokens)
        for histogram, took_us in (
            (self._queue, row.queue_us),
            (self._v_queue, row.queue_us),
            (self._whole, total_us),
            (self._v_whole, total_us),
        ):
            histogram.labels(model).observe(took_us / 1e6)
        if row.first_us:
            self._ttft.labels(model).observe(row.first_us / 1e6)
            self._v_ttft.labels(model).observe(row.first_us / 1e6)
            if row.stream and row.output_tokens > 1 and row.outcome == "finished":
                each_s = max(0, total_us - row.first_us) / (row.output_tokens - 1) / 1e6
                self._tpot.labels(model).observe(each_s)
                self._v_tpot.labels(model).observe(each_s)

    def started(self, model: str, took_us: int) -> None:
        """A replica became ready."""
        self._starts.labels(self._model(model)).inc()
        self._start_time.labels(self._model(model)).observe(max(0, took_us) / 1e6)

    def lost(self, model: str) -> None:
        """A replica ended without being asked to."""
        self._losses.labels(self._model(model)).inc()

    def render(self, fleet: Fleet, demand: Mapping[str, Demand], gateways: int, names: str = "all") -> bytes:
        """The exposition text with the fleet as it is now; `names` is all, headrace or vllm."""
        for gauge in (self._replicas, self._in_flight, self._held, self._memory, self._used):
            gauge.clear()
        self._gateways.set(gateways)
        for model in sorted(self._models):
            mine = [replica for replica in fleet.replicas if replica.model == model]
            for phase in PHASES:
                self._replicas.labels(model, phase).set(sum(replica.phase == phase for replica in mine))
            asked = [found for found in demand.values() if found.model == model]
            running, waiting = sum(found.in_flight for found in asked), sum(found.queued for found in asked)
            for gauge, value in (
                (self._in_flight, running),
                (self._running, running),
                (self._held, waiting),
                (self._waiting, waiting),
            ):
                gauge.labels(model).set(value)
        for device in fleet.devices:
            held = [r for r in fleet.replicas if r.phase in LIVE and (r.pool, r.device) == (device.pool, device.device)]
            self._memory.labels(device.pool, device.device).set(device.memory_bytes)
            self._used.labels(device.pool, device.device).set(sum(replica.held_bytes for replica in held))
        registries = {"headrace": [self.own], "vllm": [self.vllm]}.get(names, [self.own, self.vllm])
        return b"".join(generate_latest(registry) for registry in registries)

    def names(self) -> Iterable[str]:
        """Every metric there is, as Prometheus sees it."""
        return sorted(
            f"{metric.name}_total" if metric.type == "counter" else metric.name
            for registry in (self.own, self.vllm)
            for metric in registry.collect()
        )

    def _model(self, name: str) -> str:
        return name if name in self._models else OTHER

    def _tenant(self, name: str) -> str:
        if name not in self._tenants:
            if len(self._tenants) >= TENANTS_MAX:
                return OTHER
            self._tenants.add(name)
        return name


def _times(
    registry: CollectorRegistry, name: str, text: str, labels: list[str], buckets: tuple[float, ...] = _FAST
) -> Histogram:
    return Histogram(name, text, labels, buckets=buckets, registry=registry)
