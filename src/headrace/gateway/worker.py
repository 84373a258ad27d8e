"""One gateway worker: routes what clients ask to where it is answered, and keeps time for all of it.

Started by assembly, one process each, all on one port. It holds no state that another worker or the controller could
not do without: the table comes over the link, counters lie in shared memory, records go to the journal.
"""

import asyncio
import os
import time
from collections.abc import Coroutine, Iterable, MutableMapping
from typing import Any, Final

from headrace import telemetry
from headrace.errors import Invalid, Refused
from headrace.gateway import answers, expected, fan, listing, pipes, quotes, refusals, relay, shadow, wishes
from headrace.gateway.auth import Doorman
from headrace.gateway.bill import Bill
from headrace.gateway.client import Client
from headrace.gateway.desk import Acting
from headrace.gateway.directory import Directory
from headrace.gateway.exchange import Exchange
from headrace.gateway.expected import Expected
from headrace.gateway.fan import Fan
from headrace.gateway.http1 import Head
from headrace.gateway.limits import Meter
from headrace.gateway.link import Link
from headrace.gateway.purse import Wallet
from headrace.gateway.record import Name, Record
from headrace.gateway.repeats import Memory, RememberedReply
from headrace.gateway.reply import Reply
from headrace.gateway.request_ids import request_ids
from headrace.gateway.rows import SharedRows
from headrace.gateway.shared import Counters
from headrace.gateway.sizes import Sizes
from headrace.policy.actions import Answer, Assign
from headrace.policy.dispatch import Dispatch
from headrace.policy.sharing import MEET_US
from headrace.ports import Clock, Journal, Repeats
from headrace.settings import Settings
from headrace.state.table import Report, RouteKey, Table
from headrace.state.usage import Progress
from headrace.wire import fault
from headrace.wire.call import ONCE, Call
from headrace.wire.endpoint import endpoint
from headrace.wire.voice import OPENAI

TICK_S: Final = 0.02
SWEEP_S: Final = 0.25
DRAIN_S: Final = 120.0
FORGET_S: Final = 3_600.0
NEWCOMER_S: Final = 1.0
CONNECTIONS_MAX: Final = 20_000
BODIES_BYTES_MAX: Final = 256 << 20  # of bodies being received, all clients of this worker
LOOK_US: Final = 2_000
_FAULTS_MAX: Final = 64
_DRY_RUN: Final = b"x-headrace-dry-run"


class Worker:
    """One worker's parts, and where each request goes."""

    def __init__(
        self, settings: Settings, index: int, journal: Journal, repeats: Repeats, epoch: str, clock: Clock
    ) -> None:
        self.settings = settings
        self.index = index
        self.journal = journal
        self.repeats = repeats
        self.epoch = epoch
        self.began_us = clock.monotonic_us()
        self.clock = clock
        self.directory = Directory()
        self.counters = Counters(settings.counters_file, settings.gateways, index)
        self.meter = Meter(self.counters)
        rows = None if self.counters.alone else SharedRows(settings.shares_file, settings.gateways, index)
        self.dispatch = Dispatch(rows=rows)
        self.sizes = Sizes()
        self.expected = Expected()
        self.exchanges: MutableMapping[str, Acting] = {}
        self.connections: set[Client] = set()
        self.connections_max = CONNECTIONS_MAX
        self.body_bytes = 0
        self.stopping = False
        self._storage_ok = True
        pepper = bytes.fromhex(settings.pepper.read_text().strip())
        self._doorman = Doorman(pepper)
        self._faults: list[str] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self.has_table = asyncio.Event()
        self._looked_us = self._met_us = 0
        self._names = request_ids()
        self.wallet = Wallet(epoch, lambda purses: self.link.send(purses))
        granted, hello, places = self.wallet.granted, self.wallet.connected, (settings.link_socket, settings.table_file)
        self.link = Link(*places, self._took, self._report, pepper=pepper, granted=granted, hello=hello)

    # --- what a client asks -------------------------------------------------------------------------------------

    def greet(self, head: Head) -> bytes:
        """Nobody without a key gets a large body read, and nobody when too much is being read already."""
        if head.path == "/health":
            return b""
        welcome, full = self._doorman.key(head.headers) is not None, self.body_bytes > BODIES_BYTES_MAX
        return b"" if welcome and not full else refusals.at_the_door(head, next(self._names), full=welcome)

    def handle(self, client: Client, head: Head, body: bytes) -> None:
        """Take one request, whatever it brings."""
        request_id = next(self._names)
        try:
            if head.method == b"HEAD":
                client.write(answers.bodiless(self._head(head, request_id)))
                client.finished()
            elif head.path == "/health" and head.method == b"GET":
                client.write(self._health())
                client.finished()
            else:
                self._route(client, head, body, request_id)
        except Exception as error:  # noqa: BLE001 - a request's outermost frame: a mistake costs that request alone
            telemetry.logger().exception("request.failed", request=request_id, error=repr(error))
            if client.work is not None or client.closing:
                client.transport.abort()
                return
            client.write(refusals.ours(head, request_id))
            client.finished(close=True)

    def _route(self, client: Client, head: Head, body: bytes, request_id: str) -> None:
        """1. The key; 2. work for a model; 3. administration; 4. models."""
        headers = b"x-request-id: %b\r\n" % request_id.encode()
        target, reply, voice = endpoint(head.path), None, OPENAI
        if target is not None and target.voice is not None:
            voice = target.voice(request_id)
            headers += voice.headers
        key = self._doorman.key(head.headers)
        if key is None:
            client.write(refusals.unknown_key(headers, voice=voice))
            client.finished()
            return
        try:
            if target is not None and head.method == b"POST":
                if head.headers.get(b"content-encoding", b"identity") != b"identity":
                    raise Invalid("Send the body without a content coding.", code="unsupported_media_type", status=415)
                call = target.parse(body, head.headers.get(b"content-type", b""))
                wishes.take(call, head)
                if pipes.took(self, client, head, body, key, request_id, call):
                    return
                reply = self._reply(client, head, body, headers, key, request_id, call.answer_type)
                if reply is not None:
                    reply.voice, reply.stream_kind = voice, call.stream_type
                    self._work(client, call, key, request_id, reply, target.counts or _DRY_RUN in head.headers)
                return
            if target is not None:
                client.write(refusals.wrong_method(head, b"POST", headers, voice))
            elif head.path == expected.PATH:
                client.write(expected.take(self, head, body, key, headers))
            elif pipes.took(self, client, head, body, key, request_id):
                return
            elif relay.is_admin(head.path):
                relay.Relayed(client, self.spawn(relay.relay(client, head, body, self.settings.admin_socket, headers)))
                return
            else:
                client.write(listing.models(self.directory, head, key, headers))
        except (Invalid, Refused) as error:
            if reply is not None:
                reply.abandoned()
            client.write(refusals.refusal(error, headers, voice))
        client.finished()

    def _reply(
        self, client: Client, head: Head, body: bytes, headers: bytes, key: RouteKey, request_id: str, kind: bytes
    ) -> Reply | None:
        """What answers; None when the request was done before and has been answered from what was kept."""
        chunked, given = head.minor == 1, head.headers.get(b"idempotency-key")
        run = pipes.run_of(head, key, self._doorman)
        if given is None:
            return Reply(client, headers, chunked=chunked, kind=kind, run=run)
        memory = Memory(self.repeats, self.clock, request_id)
        reply = RememberedReply(client, headers, memory, chunked=chunked, kind=kind, run=run)
        return reply if reply.first(given, key.tenant, head.path, body) else None

    def _work(self, client: Client, call: Call, key: RouteKey, request_id: str, reply: Reply, dry_run: bool) -> None:
        """Begin an exchange, or say what it would cost. Raises Invalid or Refused."""
        model = self.directory.find(call.model, key, call.task, call.also)
        call.salt = self._doorman.salt(key.tenant)
        if not self._storage_ok:
            self.journal.append(Progress(request=request_id, output_tokens=0, at_us=self.clock.now_us()), self.stored)
            raise Refused(fault.CATALOGUE["storage_unavailable"][2], status=503, code="storage_unavailable")
        others, known = self.directory.stand_ins(model, key, call.model), self.directory.models
        versions = [*known[model.name], *(one for other in others for one in known[other.model.name])]
        bill = Bill(self.directory.book, versions, key, self.clock.now_us())
        label, bill.cap, call.agent_steps, *_ = reply.run
        if dry_run:
            relay.Relayed(client, self.spawn(quotes.answer(self, client, reply, bill, call, model)))
            return
        record = Record(Name(request_id, self.epoch, label), key, model, call, bill, self.sizes)
        split = fan.asking(call, model, others) != ONCE
        (Fan if split else Exchange)(self, client, reply, record, others).start()
        if self.expected.any:
            self.expected.came(key.id, f"{model.name}@{model.version}", label)
        shadow.follow(self, record, reply)

    def _health(self) -> bytes:
        if self.has_table.is_set() and not self.stopping:
            return answers.json({"status": "ok"})
        return answers.error("stopping")

    def _head(self, head: Head, request_id: str) -> bytes:
        if head.path == "/health":
            return self._health()
        return refusals.wrong_method(head, b"GET, POST", b"x-request-id: %b\r\n" % request_id.encode())

    # --- what exchanges need ------------------------------------------------------------------------------------

    def act_all(self, found: Iterable[Answer]) -> None:
        """Carry out what the fast brain decided about held requests."""
        for answer in found:
            exchange = self.exchanges.get(answer.request)
            if exchange is not None:
                exchange.act(answer)

    def look_around(self, now_us: int) -> None:
        """Tell the fast brain what the other workers have at work and hold, if that was not done just now."""
        if self.counters.alone or now_us - self._looked_us < LOOK_US:
            return
        self._looked_us = now_us
        count = self.counters.others
        self.dispatch.others({replica.id: count("replica:" + replica.id) for replica in self.directory.table.replicas})
        if now_us - self._met_us >= MEET_US:
            self._met_us = now_us
            self.dispatch.meet(now_us)

    def faulty(self, assign: Assign) -> None:
        """A replica failed under a request: leave it alone if it goes on, and tell control."""
        self.dispatch.fault(assign.replica, assign.incarnation, self.clock.monotonic_us())
        if len(self._faults) < _FAULTS_MAX:
            self._faults.append(f"{assign.replica}/{assign.incarnation}")
        self.link.report_now()

    def stored(self, done: bool) -> None:
        """Whether the last record could be written."""
        if done != self._storage_ok:
            telemetry.logger().error("journal.state", writable=done)
        self._storage_ok = done

    def spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Run something beside; its failure is logged and takes nobody with it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            telemetry.logger().error("task.failed", error=repr(error))

    # --- the link and the clock ---------------------------------------------------------------------------------

    def _took(self, table: Table) -> None:
        if table.revision < self.directory.table.revision:
            return  # an older one from disk, or from a controller that has been replaced
        self.directory.update(table)
        self._doorman.update(table.keys)
        self.act_all(self.dispatch.update(table, self.clock.monotonic_us()))
        self.has_table.set()

    def _report(self) -> Report:
        faults, self._faults = tuple(self._faults), []
        now_us = self.clock.monotonic_us()
        return Report(
            worker=self.index,
            epoch=self.epoch,
            pid=os.getpid(),
            demand=self.expected.over(self.dispatch.demand(now_us), now_us),
            in_flight=dict(self.dispatch.in_flight()),
            revision=self.directory.table.revision,
            faults=faults,
            connections=len(self.connections),
            began_us=self.began_us,
        )

    async def keep_time(self) -> None:
        """Deadlines of held requests, silent engines, slow clients."""
        swept_s, forgot_s = 0.0, time.monotonic()
        while True:
            await asyncio.sleep(TICK_S if self.dispatch.held or self.wallet.waits else SWEEP_S)
            now_us = self.clock.monotonic_us()
            self.look_around(now_us)
            if self.dispatch.held:
                self.act_all(self.dispatch.tick(now_us))
            if self.wallet.waits:
                self.wallet.tick(now_us)
            now_s = time.monotonic()
            if now_s - swept_s >= SWEEP_S:
                swept_s = now_s
                self.wallet.rest(now_us)
                if now_s - forgot_s > FORGET_S:
                    forgot_s = now_s
                    self.repeats.sweep(self.clock.now_us())
                for exchange in list(self.exchanges.values()):
                    exchange.tick(now_us)
                for client in list(self.connections):
                    client.overdue(now_s)

    async def drain(self) -> None:
        """Finish what is at work or on its way, within bounds; idle connections end at once.

        Who connected just before the end took this worker's door for open: its first request is waited for, a moment.
        """
        self.stopping = True
        start_s = time.monotonic()
        while True:
            spent_s = time.monotonic() - start_s
            for client in list(self.connections):
                client.dismiss(newcomers=spent_s > NEWCOMER_S)
            if not self._at_work() or spent_s > DRAIN_S:
                return
            await asyncio.sleep(TICK_S)

    def _at_work(self) -> bool:
        """Whether anybody still waits for an answer, or for the rest of one."""
        if self.exchanges:
            return True
        return any(
            client.busy or client.awaited or client.transport.get_write_buffer_size() for client in self.connections
        )
