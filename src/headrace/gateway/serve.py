"""The process of one gateway worker: its door, its signals, its end."""

import asyncio
import os
import resource
import signal
import socket
from contextlib import suppress
from typing import Final

from headrace import telemetry
from headrace.gateway.client import Client
from headrace.gateway.worker import CONNECTIONS_MAX, Worker
from headrace.ports import Clock, Journal, Repeats
from headrace.settings import Settings

BACKLOG: Final = 4_096
FILES_KEPT: Final = 512  # descriptors for everything that is not a client: half of what a small limit leaves, at most


async def serve(settings: Settings, index: int, journal: Journal, repeats: Repeats, epoch: str, clock: Clock) -> None:
    """Run one worker until SIGTERM, then drain."""
    loop = asyncio.get_running_loop()
    worker = Worker(settings, index, journal, repeats, epoch, clock)
    worker.connections_max = _connections_max()
    repeats.sweep(clock.now_us())
    worker.link.start_from_disk()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    link, timer = worker.spawn(worker.link.run()), worker.spawn(worker.keep_time())
    stopped, ready = worker.spawn(_wait(stop)), worker.spawn(_wait(worker.has_table))
    # The port is shared: a worker that knew no keys yet would refuse what its neighbour takes.
    await asyncio.wait({stopped, link, timer, ready}, return_when=asyncio.FIRST_COMPLETED)
    server = await _listen(worker)
    telemetry.logger().info("gateway.listening", listen=settings.listen, epoch=epoch)
    await asyncio.wait({stopped, link, timer}, return_when=asyncio.FIRST_COMPLETED)
    await _close_door(worker, server)
    await worker.drain()
    timer.cancel()
    link.cancel()
    await journal.close()
    telemetry.logger().info("gateway.stopped", epoch=epoch)
    if not stop.is_set():
        raise RuntimeError("a gateway's link or clock has failed")  # logged; its successor starts afresh


async def _listen(worker: Worker) -> asyncio.Server:
    settings = worker.settings
    return await asyncio.get_running_loop().create_server(
        lambda: Client(worker),
        settings.host,
        settings.port,
        reuse_port=True,
        backlog=BACKLOG,
        family=socket.AF_INET6 if ":" in settings.host else socket.AF_INET,
    )


async def _close_door(worker: Worker, server: asyncio.Server) -> None:
    """Listen no more, and take in who has knocked: the kernel resets what is connected and not accepted.

    Who knocks in the microseconds between our last look and the close is reset all the same, unless the kernel moves
    such connections to the other workers (net.ipv4.tcp_migrate_req, which is off by default).
    """
    doors = [socket.socket(fileno=os.dup(door.fileno())) for door in server.sockets]
    server.close()  # from here on nobody but us accepts
    came: list[socket.socket] = []
    for door in doors:
        door.setblocking(False)
        with door, suppress(BlockingIOError):
            came.extend(door.accept()[0] for _ in range(BACKLOG))
    for line in came:
        line.setblocking(False)
        with suppress(OSError):  # it has gone again
            await asyncio.get_running_loop().connect_accepted_socket(lambda: Client(worker), line)


async def _wait(event: asyncio.Event) -> None:
    await event.wait()


def _connections_max() -> int:
    """As many clients as open files allow, after asking for as many of those as may be had."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard == resource.RLIM_INFINITY:
        return CONNECTIONS_MAX
    # Each client at work may need a connection to a replica too.
    return max(16, min(CONNECTIONS_MAX, (hard - min(FILES_KEPT, hard // 4)) // 2))
