"""`explain`: why a request went where it went and waited as long as it did; why a replica was started or stopped.

One JSON with the facts, and `text`, the same in lines a person reads; CLI and clients show the same words.
"""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headrace import errors
from headrace.control.admin.routes import AdminRoute, json
from headrace.control.controller import Controller
from headrace.state.decision import Decision
from headrace.state.fleet import Lease
from headrace.state.usage import Usage
from headrace.units import US_PER_S, format_us


class Explain:
    """Handlers over one controller."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    def routes(self) -> list[AdminRoute]:
        """What is served."""
        path = "/headrace/v1/explain/{id}"
        return [AdminRoute("GET", path, "user", "Explain a request, `last`, or a replica.", self.explain)]

    async def explain(self, request: Request) -> Response:
        """A request of the caller's tenant (any, for admins), or, for admins, a replica."""
        control, key, name = self._controller, request.state.key, request.path_params["id"]
        control.bookkeeper.catch_up()
        if name == "last":
            tenant = None if key.role == "admin" else key.tenant
            row = next(iter(control.store.usage_list(limit=1, tenant=tenant)), None)
        else:
            row = control.store.usage_get(name)
        if row is not None and (key.role == "admin" or row.tenant == key.tenant):
            return json(self._request(row))
        if key.role == "admin" and name != "last":
            events = control.store.decisions(limit=50, subject=name)
            if events:
                return json(self._replica(name, events))
        raise errors.Invalid(
            f"nothing is known of {name[:80]!r}; give a request id (x-request-id of its answer), `last`, or a replica",
            code="not_found",
            status=404,
        )

    def _request(self, row: Usage) -> dict[str, object]:
        lease = next((x for x in self._leases(row.replica) if x.incarnation == row.incarnation), None)
        return {
            "id": row.request,
            "kind": "request",
            "request": msgspec.structs.asdict(row),
            "lease": lease,
            "text": request_lines(row, lease),
        }

    def _replica(self, name: str, events: list[Decision]) -> dict[str, object]:
        leases = self._leases(name)
        lines = [f"{_clock(event.at_us)}  {event.kind:<16} {event.reason}" for event in reversed(events)]
        return {"id": name, "kind": "replica", "events": events, "leases": leases, "text": lines}

    def _leases(self, replica: str) -> list[Lease]:
        return [lease for lease in self._controller.store.lease_list() if lease.replica == replica] if replica else []


def request_lines(row: Usage, lease: Lease | None) -> list[str]:
    """A request in words.

    asked, routed, waited, timing, tokens, ended: one line each, left out where there is nothing to say.
    """
    stream = ", streamed" if row.stream else ""
    lines = [
        f"asked     {row.model} ({row.task}{stream}) · tenant {row.tenant} · key {row.key} · {_clock(row.arrived_us)}"
    ]
    if row.replica:
        tries = f" · {row.attempts} attempts" if row.attempts > 1 else ""
        lines.append(f"routed    {row.replica} ({row.version}){tries}: {row.why}")
    elif row.why:
        lines.append(f"held      {row.why}")
    if row.cold:
        cause = ""
        if lease is not None and lease.ready_us:
            cause = f"; the replica took {format_us(lease.ready_us - lease.started_us)} to start, for: {lease.cause}"
        lines.append(f"waited    {format_us(row.queue_us)}, since the model was asleep{cause}")
    elif row.queue_us:
        lines.append(f"waited    {format_us(row.queue_us)}")
    total_us = row.ended_us - row.arrived_us
    first = f" · first byte {format_us(row.first_us)}" if row.first_us else ""
    busy = f" · at the replica {format_us(row.busy_us)}" if row.replica else ""
    engine = ""
    if row.engine_prefill_us or row.engine_decode_us:
        prefill, decode = format_us(row.engine_prefill_us), format_us(row.engine_decode_us)
        engine = f" (engine: prefill {prefill}, decode {decode})"
    lines.append(f"timing    total {format_us(total_us)}{first}{busy}{engine}")
    cached = f" ({row.cached_tokens} cached)" if row.cached_tokens else ""
    lines.append(f"tokens    {row.input_tokens} in{cached}, {row.output_tokens} out, counted by the {row.counted}")
    end = f"{row.outcome}, status {row.status}"
    if row.outcome == "cancelled":
        end += f", after {row.events} pieces"
    lines.append(f"ended     {end}{f': {row.error}' if row.error else ''}")
    return lines


def _clock(moment_us: int) -> str:
    """UTC time of day of a moment."""
    seconds = moment_us // US_PER_S % 86_400
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02} UTC"
