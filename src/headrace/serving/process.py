"""The runner as a process: its parts' routes on one unix socket, and what they go on with, until SIGTERM."""

import asyncio
import contextlib
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.routing import BaseRoute

from headrace.errors import HeadraceError
from headrace.serving import bodies
from headrace.serving.drained import Drained


class Part(Protocol):
    """One service of the runner."""

    def routes(self) -> Sequence[BaseRoute]:
        """Its paths."""
        ...

    async def begin(self) -> None:
        """Go on with what was at work when the last runner ended."""
        ...

    async def stop(self) -> None:
        """Leave everything where it is: the next runner goes on."""
        ...


def app(parts: Sequence[Part]) -> Starlette:
    """The ASGI app of all parts."""
    handlers = {HeadraceError: bodies.told, HTTPException: bodies.lost}
    routes = [route for part in parts for route in part.routes()]
    return Starlette(routes=routes, exception_handlers=handlers, middleware=[Middleware(Drained)])


async def serve(socket: Path, parts: Sequence[Part]) -> None:
    """Until SIGTERM."""
    for part in parts:
        await part.begin()
    await asyncio.to_thread(socket.unlink, missing_ok=True)
    config = uvicorn.Config(app(parts), uds=str(socket), loop="none", http="httptools", ws="none",
                            lifespan="off", access_log=False, log_config=None, server_header=False)  # fmt: skip
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    serving = asyncio.ensure_future(_Server(config).serve())
    waiting = asyncio.ensure_future(stop.wait())
    await asyncio.wait([serving, waiting], return_when=asyncio.FIRST_COMPLETED)
    serving.cancel()
    waiting.cancel()
    for part in parts:
        await part.stop()


class _Server(uvicorn.Server):
    """Leaves the process's signals to `serve`."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
