"""One gateway worker: routes what clients ask to where it is answered, and keeps time for all of it.

Started by assembly, one process each, all on one port. It holds no state that another worker or the controller could
not do without: the table comes over the link, counters lie in shared memory, records go to the journal.
"""

import asyncio
import os
import secrets
import signal
import socket
import time
from collections.abc import Coroutine, Iterable, Iterator, MutableMapping
from typing import Any, Final

from headrace import telemetry
from headrace.errors import HeadraceError, Invalid, Refused
from headrace.gateway import answers, relay
from headrace.gateway.auth import Doorman
from headrace.gateway.client import Client
from headrace.gateway.desk import Acting
from headrace.gateway.directory import Directory
from headrace.gateway.exchange import Exchange
from headrace.gateway.http1 import Head
from headrace.gateway.limits import Meter
from headrace.gateway.link import Link
from headrace.gateway.record import Record
from headrace.gateway.reply import Reply
from headrace.gateway.shared import Counters
from headrace.policy.actions import Answer, Assign
from headrace.policy.dispatch import Dispatch
from headrace.ports import Clock, Journal
from headrace.settings import Settings
from headrace.state.table import Report, RouteKey, Table
from headrace.state.usage import Progress
from headrace.wire import fault
from headrace.wire.endpoint import Endpoint, endpoint

TICK_S: Final = 0.02
SWEEP_S: Final = 0.25
DRAIN_S: Final = 120.0
BACKLOG: Final = 4_096
CONNECTIONS_MAX: Final = 20_000
_FAULTS_MAX: Final = 64


class Worker:
    """One worker's parts, and where each request goes."""

    def __init__(self, settings: Settings, index: int, journal: Journal, epoch: str, clock: Clock) -> None:
        self.settings = settings
        self.index = index
        self.journal = journal
        self.epoch = epoch
        self.clock = clock
        self.dispatch = Dispatch()
        self.directory = Directory()
        self.counters = Counters(settings.counters_file, settings.gateways, index)
        self.meter = Meter(self.counters)
        self.exchanges: MutableMapping[str, Acting] = {}
        self.connections: set[Client] = set()
        self.stopping = False
        self._storage_ok = True
        self._doorman = Doorman(bytes.fromhex(settings.pepper.read_text().strip()))
        self._faults: list[str] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._has_table = False
        self._names = _names()
        self.link = Link(settings.link_socket, settings.table_file, self._took, self._report)

    # --- what a client asks -------------------------------------------------------------------------------------

    def handle(self, client: Client, head: Head, body: bytes) -> None:
        """Take one request: 1. health; 2. the key; 3. models; 4. administration; 5. work for a model."""
        if head.path == "/health" and head.method == b"GET":
            self._health(client)
            return
        request_id = next(self._names)
        headers = b"x-request-id: %b\r\n" % request_id.encode()
        key = self._doorman.key(head.headers)
        if key is None:
            message = (
                "Incorrect API key provided. Send a key as 'Authorization: Bearer hr-...'; see: headrace key create"
            )
            client.write(answers.error("invalid_api_key", message, headers=headers + b"www-authenticate: Bearer\r\n"))
            client.finished()
            return
        if relay.is_admin(head.path):
            task = self.spawn(relay.relay(client, head, body, self.settings.admin_socket, headers))
            relay.Relayed(client, task)
            return
        target = endpoint(head.path)
        try:
            if target is None:
                client.write(self._models(head, key, headers))
            elif head.method != b"POST":
                client.write(_wrong_method(head, b"POST", headers))
            else:
                self._work(client, head, body, target, key, request_id)
                return
        except (Invalid, Refused) as error:
            client.write(_refusal(error, headers))
        client.finished()

    def _work(self, client: Client, head: Head, body: bytes, target: Endpoint, key: RouteKey, request_id: str) -> None:
        headers = b"x-request-id: %b\r\n" % request_id.encode()
        try:
            if head.headers.get(b"content-encoding", b"identity") != b"identity":
                raise Invalid("Send the body without a content coding.", code="unsupported_media_type", status=415)
            call = target.parse(body)
            model = self.directory.find(call.model, key, call.task)
            if not self._storage_ok:
                self.journal.append(
                    Progress(request=request_id, output_tokens=0, at_us=self.clock.now_us()), self.stored
                )
                raise Refused(fault.CATALOGUE["storage_unavailable"][2], status=503, code="storage_unavailable")
            reply = Reply(client, headers, chunked=head.minor == 1)
            Exchange(self, client, reply, Record(request_id, self.epoch, key, model, call)).start()
        except (Invalid, Refused) as error:
            client.write(_refusal(error, headers))
            client.finished()

    def _health(self, client: Client) -> None:
        if self._has_table and not self.stopping:
            client.write(answers.json({"status": "ok"}))
        else:
            client.write(answers.error("stopping", "starting" if not self.stopping else ""))
        client.finished()

    def _models(self, head: Head, key: RouteKey, headers: bytes) -> bytes:
        path = head.path.removeprefix("/v1")
        if path != "/models" and not path.startswith("/models/"):
            message = f"There is nothing at {head.path[:200]}. Served: /v1/chat/completions, /v1/completions, "
            message += "/v1/embeddings, /v1/rerank, /v2/rerank, /v1/models, /headrace/v1/..."
            return answers.error("not_found", message, headers=headers)
        if head.method != b"GET":
            return _wrong_method(head, b"GET", headers)
        if path == "/models":
            return answers.json({"object": "list", "data": self.directory.listing(key)}, headers)
        name = path.removeprefix("/models/")
        if name not in self.directory.usable(key):
            self.directory.find(name, key, "")
        return answers.json(self.directory.entry(name), headers)

    # --- what exchanges need ------------------------------------------------------------------------------------

    def act_all(self, found: Iterable[Answer]) -> None:
        """Carry out what the fast brain decided about held requests."""
        for answer in found:
            exchange = self.exchanges.get(answer.request)
            if exchange is not None:
                exchange.act(answer)

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
        self._has_table = True
        self.directory.update(table)
        self._doorman.update(table.keys)
        self.act_all(self.dispatch.update(table, self.clock.monotonic_us()))

    def _report(self) -> Report:
        faults, self._faults = tuple(self._faults), []
        return Report(
            worker=self.index,
            epoch=self.epoch,
            pid=os.getpid(),
            demand=self.dispatch.demand(self.clock.monotonic_us()),
            in_flight=dict(self.dispatch.in_flight()),
            revision=self.directory.table.revision,
            faults=faults,
            connections=len(self.connections),
        )

    async def keep_time(self) -> None:
        """Deadlines of held requests, silent engines, slow clients."""
        swept_s = 0.0
        while True:
            await asyncio.sleep(TICK_S if self.dispatch.held else SWEEP_S)
            now_us = self.clock.monotonic_us()
            if not self.counters.alone:
                names = {replica.id for replica in self.directory.table.replicas}
                self.dispatch.others({name: self.counters.others("replica:" + name) for name in names})
            if self.dispatch.held:
                self.act_all(self.dispatch.tick(now_us))
            now_s = time.monotonic()
            if now_s - swept_s >= SWEEP_S:
                swept_s = now_s
                for exchange in list(self.exchanges.values()):
                    exchange.tick(now_us)
                for client in list(self.connections):
                    client.overdue(now_s)

    async def drain(self) -> None:
        """Finish what is at work, within bounds; idle connections end at once."""
        self.stopping = True
        for client in list(self.connections):
            if not client.busy:
                client.transport.close()
        end_s = time.monotonic() + DRAIN_S
        while self.exchanges and time.monotonic() < end_s:  # noqa: ASYNC110 - bounded, and at the very end
            await asyncio.sleep(TICK_S)


async def serve(settings: Settings, index: int, journal: Journal, epoch: str, clock: Clock) -> None:
    """Run one worker until SIGTERM, then drain."""
    loop = asyncio.get_running_loop()
    worker = Worker(settings, index, journal, epoch, clock)
    worker.link.start_from_disk()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = await loop.create_server(
        lambda: Client(worker),
        settings.host,
        settings.port,
        reuse_port=True,
        backlog=BACKLOG,
        family=socket.AF_INET6 if ":" in settings.host else socket.AF_INET,
    )
    link, timer = worker.spawn(worker.link.run()), worker.spawn(worker.keep_time())
    telemetry.logger().info("gateway.listening", listen=settings.listen, epoch=epoch)
    await stop.wait()
    server.close()
    await worker.drain()
    timer.cancel()
    link.cancel()
    await journal.close()
    telemetry.logger().info("gateway.stopped", epoch=epoch)


def _names() -> Iterator[str]:
    """Request ids: `req_`, the moment, and 80 random bits; sortable, and not to be guessed."""
    while True:
        pool = secrets.token_hex(640)
        for at in range(0, len(pool), 20):
            yield f"req_{time.time_ns() // 1_000:x}{pool[at : at + 20]}"


def _wrong_method(head: Head, allowed: bytes, headers: bytes) -> bytes:
    message = f"{head.path[:200]} takes {allowed.decode()}, not {head.method.decode()}."
    return answers.error("method_not_allowed", message, headers=headers + b"allow: %b\r\n" % allowed)


def _refusal(error: HeadraceError, headers: bytes) -> bytes:
    status, body = fault.of(error)
    if isinstance(error, Refused):
        if error.retry_after_us is not None:
            headers += b"retry-after: %d\r\n" % -(-error.retry_after_us // 1_000_000)
        else:
            headers += b"x-should-retry: false\r\n"
    return answers.whole(status, body, headers)
