"""`explain`: why a request went where it went and waited as long as it did; why a replica was started or stopped.

One JSON with the facts, and `text`, the same in lines a person reads; CLI and clients show the same words.
"""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from headrace import errors
from headrace.control.admin import standing, views
from headrace.control.admin.receipts import receipt_lines
from headrace.control.admin.routes import AdminRoute, json
from headrace.control.controller import Controller
from headrace.economics.entries import HOUR_US
from headrace.economics.receipt import Receipt, receipt
from headrace.ports import Clock
from headrace.specs.catalog import ModelSpec
from headrace.specs.priced import ITEMS, SCALES
from headrace.state.decision import Decision
from headrace.state.fleet import Lease
from headrace.state.table import Price
from headrace.state.usage import Begun, Stay, Usage
from headrace.units import US_PER_S, format_us


class Explain:
    """Handlers over one controller."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    def routes(self) -> list[AdminRoute]:
        """What is served."""
        path = "/headrace/v1/explain/{id}"
        summary = "Explain a request, `last`, a replica, or where a model stands."
        return [AdminRoute("GET", path, "user", summary, self.explain, gives=views.Explained)]

    async def explain(self, request: Request) -> Response:
        """A request of the caller's tenant (any, for admins); for admins a replica, or where a model stands and why."""
        control, key, name = self._controller, request.state.key, request.path_params["id"]
        await control.bookkeeper.catch_up()
        control.records.flush()
        if name == "last":
            tenant = None if key.role == "admin" else key.tenant
            row = next(iter(control.store.usage_list(limit=1, tenant=tenant)), None)
        else:
            row = control.store.usage_get(name)
        begun = control.bookkeeper.begun(name) if row is None else None
        for found in (row, begun):
            if found is not None and (key.role == "admin" or found.tenant == key.tenant):
                if isinstance(found, Usage):
                    return json(self._request(found, admin=key.role == "admin"))
                return json(_at_work(found, control.clock))
        if key.role == "admin" and name != "last":
            if models := [model for model in control.catalog.models if name in (model.key, model.name)]:
                return json(self._models(name, models))
            if events := control.store.decisions(limit=50, subject=name):
                return json(self._subject(name, events))
        raise errors.Invalid(
            f"nothing is known of {name[:80]!r}; give a request id (x-request-id of its answer), `last`, a replica, "
            "or a model",
            code="not_found",
            status=404,
        )

    def _request(self, row: Usage, *, admin: bool) -> views.Explained:
        lease = next((x for x in self._leases(row.replica) if x.incarnation == row.incarnation), None)
        made = self._receipt(row)
        return views.Explained(
            id=row.request,
            kind="request",
            request=views.row(row),
            lease=lease,
            decision=self._decision(lease) if row.cold else None,
            receipt=made if admin else None,
            text=[*request_lines(row, lease), *receipt_lines(made, admin=admin)],
        )

    def _receipt(self, row: Usage) -> Receipt:
        """What it cost and was charged; what a closed API would have charged, where one is named and known."""
        control = self._controller
        books = control.store.statements
        entries = books.entries(row.request)
        hours = {hour: books.balances(hour, hour + HOUR_US) for hour in {entry.hour_us for entry in entries}}
        spec = control.catalog.model(f"{row.model}@{row.version}")
        name = spec.compare_to if spec else ""
        units = control.market.units(name) if name else None
        market = None
        if units is not None:
            shown = f"{name} ({control.market.source(name)})"
            market = (shown, Price(id=name, model=row.model, units=units))
        return receipt(row, entries, books.price(row.price), hours, market=market)

    def _decision(self, lease: Lease | None) -> Decision | None:
        """The decision that started the replica a request waited for."""
        if lease is None:
            return None
        made = self._controller.store.decisions(limit=50, subject=lease.replica)
        return next((d for d in made if d.kind == "replica.start" and d.reason == lease.cause), None)

    def _subject(self, name: str, events: list[Decision]) -> views.Explained:
        leases = self._leases(name)
        lines = [f"{_clock(event.at_us)}  {event.kind:<16} {event.reason}" for event in reversed(events)]
        lines += [lease_line(lease) for lease in reversed(leases)]
        return views.Explained(
            id=name, kind="replica" if leases else "subject", events=events, leases=leases, text=lines
        )

    def _models(self, name: str, models: list[ModelSpec]) -> views.Explained:
        """Where a model stands: each of its versions, when it is asked for by its name alone."""
        control, events, text = self._controller, list[Decision](), list[str]()
        for model in models:
            made = standing.decided(control, model)
            events += made
            text += [f"{model.key}:"] if len(models) > 1 else []
            for one in made:
                of = "" if one.subject == model.key else f"{one.subject}: "
                text.append(f"{_clock(one.at_us)}  {one.kind:<16} {of}{one.reason}")
            text += standing.lines(control, model)
        return views.Explained(id=models[0].key if len(models) == 1 else name, kind="subject", events=events, text=text)

    def _leases(self, replica: str) -> list[Lease]:
        return [lease for lease in self._controller.store.lease_list() if lease.replica == replica] if replica else []


def _at_work(begun: Begun, clock: Clock) -> views.Explained:
    stream = ", streamed" if begun.stream else ""
    since = format_us(max(0, clock.now_us() - begun.arrived_us))
    asked = f"asked     {begun.model} ({begun.task}{stream}) · tenant {begun.tenant} · key {begun.key}"
    lines = [f"{asked} · {_clock(begun.arrived_us)}", f"now       at work since {since}; its record comes with its end"]
    return views.Explained(id=begun.request, kind="request", request=views.row(begun), text=lines)


def lease_line(lease: Lease) -> str:
    """One lease in words."""
    place = f"{lease.pool}/{lease.device}, {lease.share_ppm / 10_000:.1f} % of it"
    how = {"start": "ready", "wake": "awake", "sleep": "asleep"}[lease.way]
    ready = f", {how} after {format_us(lease.ready_us - lease.started_us)}" if lease.ready_us else ""
    ready = ", asleep" if lease.way == "sleep" else ready
    end = f"; ended {_clock(lease.ended_us)}: {lease.ended_by}" if lease.ended_us else "; runs"
    return f"{_clock(lease.started_us)}  lease            {lease.incarnation} on {place}{ready}{end}"


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
        place = f"{len(row.parts)} parts" if row.parts else row.replica
        lines.append(f"routed    {place} ({row.version}){tries}: {row.why}")
        lines += [part_line(part, row.arrived_us) for part in row.parts]
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
    lines.append(used_line(row))
    end = f"{row.outcome}, status {row.status}"
    if row.outcome == "cancelled":
        end += f", after {row.events} pieces"
    lines.append(f"ended     {end}{f': {row.error}' if row.error else ''}")
    return lines


def part_line(part: Stay, arrived_us: int) -> str:
    """Where one call was made for a request that took several; `attempt` says that its choice was asked for again.

    >>> part_line(Stay(choice=1, attempt=2, replica="m-r0", incarnation="i", start_us=5_000, first_us=9_000,
    ...                end_us=35_000, input_tokens=9, output_tokens=4, why="the only ready replica"), 1_000)
    'part      choice 1, try 2: m-r0 from 4 ms, for 30 ms, 9 tokens in, 4 out: the only ready replica'
    """
    again = f", try {part.attempt}" if part.attempt > 1 else ""
    cached = f" ({part.cached_tokens} cached)" if part.cached_tokens else ""
    return (
        f"part      choice {part.choice}{again}: {part.replica} from {format_us(part.start_us - arrived_us)}, for "
        f"{format_us(part.end_us - part.start_us)}, {part.input_tokens} tokens in{cached}, {part.output_tokens} out: "
        f"{part.why}"
    )


def used_line(row: Usage) -> str:
    """What a request used, in the unit of its task.

    >>> from headrace.state.usage import Usage
    >>> of = {"request": "r", "epoch": "e", "tenant": "t", "key": "k", "model": "m", "outcome": "finished"}
    >>> at = {"status": 200, "arrived_us": 1, "ended_us": 2}
    >>> used_line(Usage(**of, **at, task="transcribe", items=3_449))
    'used      0.057 minutes of audio, counted by the engine'
    """
    unit = ITEMS.get(row.task)
    if unit is not None and not (row.input_tokens or row.output_tokens):
        each = SCALES[unit][0]
        amount = f"{row.items / each:.3f}" if unit in _LONG else f"{row.items}"
        return f"used      {amount} {_LONG.get(unit, unit.replace('_', ' '))}, counted by the {row.counted}"
    cached = f" ({row.cached_tokens} cached)" if row.cached_tokens else ""
    return f"tokens    {row.input_tokens} in{cached}, {row.output_tokens} out, counted by the {row.counted}"


_LONG: Final[dict[str, str]] = {"audio_ms": "minutes of audio", "video_ms": "seconds of video"}


def _clock(moment_us: int) -> str:
    """UTC time of day of a moment."""
    seconds = moment_us // US_PER_S % 86_400
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02} UTC"
