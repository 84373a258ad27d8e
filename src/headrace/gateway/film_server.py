"""A foreign server of films, which makes them as jobs: created, asked after until one is over, fetched, taken away.

To whoever uses a connection all of that is one request and one answer, as our own engines give it: a try at such a
server is a try like any other. Each time the job is asked after, its user is told that it was heard from. Giving it up
ends the job. A job that failed is a refusal: tried again it would cost again.
"""

import asyncio
from typing import Final

from headrace.gateway.upstream import Pool, Upstream, User
from headrace.state.table import RouteReplica
from headrace.wire import films

POLL_S: Final = (0.25, 5.0)  # at first, and at most; each wait is half as long again
CALL_S: Final = 30.0
CONTENT_S: Final = 300.0
BODY_BYTES_MAX: Final = 1 << 20
FILM_BYTES_MAX: Final = 44 << 20  # so that it is an answer within bounds when it is coded
FAULTS_MAX: Final = 3  # in a row, of asking after a job


class _Reply:
    """One answer, taken whole. See `upstream.User`."""

    def __init__(self, bytes_max: int) -> None:
        self.status = 0
        self.whole: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._left, self._parts = bytes_max, list[bytes]()

    def upstream_head(self, status: int, events: bool) -> None:
        del events
        self.status = status

    def upstream_data(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left >= 0:
            self._parts.append(data)
        elif not self.whole.done():
            self.whole.set_exception(ValueError("the server of films sent too much"))

    def upstream_end(self) -> None:
        if not self.whole.done():
            self.whole.set_result(b"".join(self._parts))

    def upstream_lost(self, reason: str, heard: bool) -> None:
        del heard
        if not self.whole.done():
            self.whole.set_exception(OSError(reason))


class _Unheld(asyncio.Transport):
    """There is nothing to hold back: an answer is given at once."""

    def is_closing(self) -> bool:
        return True

    def pause_reading(self) -> None: ...


class FilmServer(Pool):
    """One replica that is such a server; what it hands out as connections are jobs."""

    def __init__(self, replica: RouteReplica) -> None:
        super().__init__(replica)
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self) -> Upstream | None:
        """See `Pool.take`: no job is ever idle."""
        return None

    async def connect(self) -> Upstream:
        """See `Pool.connect`: it is connected to when it is asked."""
        return Job(self)

    def run(self, work: "asyncio.Task[None]") -> None:
        """Keep a task until it has ended."""
        self._tasks.add(work)
        work.add_done_callback(self._tasks.discard)

    async def ask(self, request: bytes, limit_s: float = CALL_S, bytes_max: int = BODY_BYTES_MAX) -> tuple[int, bytes]:
        """One request to it: the status and the body. Raises OSError, TimeoutError or ValueError."""
        line, reply = await super().connect(), _Reply(bytes_max)
        try:
            line.send(reply, request)
            async with asyncio.timeout(limit_s):
                body = await reply.whole
        finally:
            line.give_up()
            self.forget(line)
        return reply.status, body


class Job(Upstream):
    """One film that is being made."""

    __slots__ = ("_server", "_task")

    def __init__(self, server: FilmServer) -> None:
        super().__init__(server)
        self.transport = _Unheld()
        self._server = server
        self._task: asyncio.Task[None] | None = None

    def send(self, user: User, data: bytes) -> None:
        """See `Upstream.send`."""
        self.user = user
        self._task = asyncio.get_running_loop().create_task(self._live(data))
        self._server.run(self._task)

    def give_up(self) -> None:
        """See `Upstream.give_up`: the job is taken away."""
        self.user = None
        if self._task is not None:
            self._task.cancel()

    def await_end(self) -> None:
        """See `Upstream.await_end`: there is nothing more to come."""
        self.give_up()

    async def _live(self, created: bytes) -> None:
        name = ""
        try:
            status, body = await self._server.ask(created)
            if status == 200:
                job = films.job(body)
                name = job.id
                status, body = await self._made(job)
            self._answer(status, body)
        except (OSError, ValueError) as error:
            self._answer(502, repr(error).encode())
        finally:
            if name:
                self._server.run(asyncio.get_running_loop().create_task(self._forget(name)))

    async def _made(self, job: films.Job) -> tuple[int, bytes]:
        """The answer, once the job is over."""
        at, wait_s, faults = f"{films.JOBS}/{job.id}", POLL_S[0], 0
        while job.status not in films.OVER:
            await asyncio.sleep(wait_s)
            wait_s = min(1.5 * wait_s, POLL_S[1])
            try:
                status, body = await self._server.ask(self._server.bare("GET", at))
                job = films.job(body) if status == 200 else job
            except OSError:
                status = 0
            faults = 0 if status == 200 else faults + 1
            if faults == FAULTS_MAX:
                raise OSError(f"asked after its job, it answered {status or 'nothing'}")
            if self.user is not None:
                self.user.upstream_head(200, events=False)
        if job.status != "completed":
            return 400, films.FAILED
        status, film = await self._server.ask(self._server.bare("GET", f"{at}/content"), CONTENT_S, FILM_BYTES_MAX)
        return (200, films.whole(film)) if status == 200 else (502, b"")

    def _answer(self, status: int, body: bytes) -> None:
        user = self.user
        if user is None:
            return
        user.upstream_head(status, events=False)
        user.upstream_data(body)
        if self.user is user:
            self.user = None
            user.upstream_end()

    async def _forget(self, name: str) -> None:
        """Take it away there: a film that nobody waits for is not made, one that was fetched is not kept."""
        try:
            await self._server.ask(self._server.bare("DELETE", f"{films.JOBS}/{name}"))
        except (OSError, ValueError):
            return  # it is theirs to clean up
