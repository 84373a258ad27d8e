"""One try of one request at one replica: a connection is found or made, the request sent, the connection let go of.

Made by the exchange, which hears what the engine says itself. Letting go before the answer has ended closes the
connection, which is what stops the engine.
"""

from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol

from headrace.gateway.desk import Desk
from headrace.gateway.order import Order
from headrace.gateway.upstream import Pool, Upstream, User
from headrace.policy.actions import Assign
from headrace.wire.call import Call

STALE_US: Final = 100_000  # a connection that had been closed unseen says so at once


class Trying(User, Protocol):
    """Whose request it is. `slow`: its client does not read, so neither may we."""

    @property
    def slow(self) -> bool:
        """Whether its client does not read what it is sent."""
        ...

    def unreachable(self, attempt: "Attempt", reason: str) -> None:
        """The replica could not be asked."""
        ...


class Attempt:
    """One try. `assign` is why it is this replica's; without a pool, the replica has left the table meanwhile."""

    __slots__ = ("_over", "_pool", "_request", "_upstream", "_user", "assign")

    def __init__(self, user: Trying, assign: Assign, pool: Pool | None, request: bytes) -> None:
        self.assign = assign
        self._user = user
        self._pool = pool
        self._request = request
        self._upstream: Upstream | None = None
        self._over = False

    def begin(self, spawn: Callable[[Coroutine[Any, Any, None]], object]) -> None:
        """Ask the replica; over an idle connection if there is one."""
        upstream = self._pool.take() if self._pool is not None else None
        if upstream is not None:
            self._send(upstream)
        else:
            spawn(self._connect())

    def lost(self, spawn: Callable[[Coroutine[Any, Any, None]], object], *, heard: bool, after_us: int) -> bool:
        """The connection has gone `after_us` after it was used. Whether it was only stale, and another one is made.

        A replica may close an idle connection while the request is on its way, which is no failure of its.
        """
        upstream, self._upstream = self._upstream, None
        if upstream is None or not upstream.reused or heard or after_us > STALE_US:
            return False
        spawn(self._connect())
        return True

    def answered(self) -> None:
        """The answer is whole; the connection is the pool's again."""
        self._upstream = None
        self._over = True

    def let_go(self, *, complete: bool = False) -> None:
        """No more is wanted of this try. `complete`: only framing is still to come."""
        self._over = True
        upstream, self._upstream = self._upstream, None
        if upstream is not None and upstream.user is self._user:
            if complete:
                upstream.await_end()
            else:
                upstream.give_up()

    def hold(self, paused: bool) -> None:
        """Let the engine's socket fill, or read on."""
        upstream = self._upstream
        if upstream is None or upstream.transport.is_closing():
            return
        if paused:
            upstream.transport.pause_reading()
        else:
            upstream.transport.resume_reading()

    async def _connect(self) -> None:
        try:
            if self._pool is None:
                raise OSError("it has left the table")
            upstream = await self._pool.connect()
        except (OSError, TimeoutError) as error:
            if not self._over:
                self._user.unreachable(self, f"the replica could not be reached: {error or 'no answer in time'}")
            return
        if self._over:
            upstream.transport.abort()
        else:
            self._send(upstream)

    def _send(self, upstream: Upstream) -> None:
        self._upstream = upstream
        upstream.send(self._user, self._request)
        if self._user.slow:
            upstream.transport.pause_reading()


def attempt_at(desk: Desk, order: Order, call: Call, assign: Assign, user: Trying) -> Attempt:
    """A try at that replica, counted there from now on and not begun yet."""
    desk.counters.flying("replica:" + assign.replica, 1)
    pool = desk.directory.pools.get((assign.replica, assign.incarnation))
    request = b""
    if pool is not None:
        path, body = order.render(pool.replica.upstream_model)
        request = pool.request(path, body, call.content_type)
    return Attempt(user, assign, pool, request)
