"""Copies of requests for a version that is only watched: asked as its own request, answered to nobody, charged nothing.

A copy begins after its original and never before it, holds no budget, counts against no limit of its client, and is
left out where the version has nothing ready or too many copies are under way: who is answered comes first. Its record
stands in the books as the house's, so what the comparison cost is seen. Both answers are compared, and what is kept of
them is how alike they were.
"""

import copy
from collections.abc import Mapping
from typing import Final

from headrace.errors import HeadraceError
from headrace.gateway.bill import Bill
from headrace.gateway.client import Client
from headrace.gateway.comparison import Comparison
from headrace.gateway.desk import Acting, Desk
from headrace.gateway.exchange import Exchange
from headrace.gateway.record import Name, Record
from headrace.gateway.reply import Reply
from headrace.policy import shadowing
from headrace.state.request import BATCH
from headrace.state.table import RouteKey

_KEY: Final = RouteKey(id="shadow", digest="", tenant=shadowing.TENANT, role="user", models=("*",))
_SUFFIX: Final = "-shadow"


class _Nobody(Client):
    """A client that is not there: it reads at once whatever is written, and keeps nothing."""

    __slots__ = ()

    def __init__(self) -> None:
        self.work = None
        self.slow = False

    def write(self, data: bytes) -> None:
        """Nobody reads it; who compares it has heard it before."""

    def finished(self, *, close: bool = False) -> None:
        """Nobody waits."""


def follow(desk: Desk, original: Record, reply: Reply) -> None:
    """Copy a request that has begun, if a version of its model is watched and it is this request's turn.

    `reply` is where its own answer goes: it is heard there.
    """
    if not desk.directory.shadows:
        return
    watched = desk.directory.shadows.get(original.model.name)
    if watched is None or "@" in original.call.model or not shadowing.its_turn(original.request_id, watched.shadow):
        return
    if original.request_id not in desk.exchanges:
        return  # it was refused
    if shadowing.left_out(ready=watched.state == "ready", under_way=_under_way(desk.exchanges)):
        return
    call = copy.copy(original.call)
    call.priority = BATCH
    call.model = f"{watched.name}@{watched.version}"
    bill = Bill(desk.directory.book, [watched], _KEY, desk.clock.now_us())
    name = Name(original.request_id + _SUFFIX, original.epoch, f"shadow of {original.request_id}")
    record = Record(name, _KEY, watched, call, bill)
    client = _Nobody()
    unheard = Reply(client, b"", chunked=False)
    compared = Comparison(
        original.call, (watched.name, watched.version), original.wall_us, lambda: _by(original), desk.journal.append
    )
    reply.heard, unheard.heard = compared.original, compared.copy
    try:
        Exchange(desk, client, unheard, record).start()
    except HeadraceError:
        reply.heard = None
        desk.exchanges.pop(name.request_id, None)  # it cannot be asked of this version; its original has its answer
    bill.bound = 0  # so that it is charged nothing, whatever it comes to


def _by(original: Record) -> str:
    """The version that answered; empty when another model stood in."""
    asked = original.call.model.partition("@")[0]
    return original.served_by.version if original.served_by and original.model.name == asked else ""


def _under_way(exchanges: Mapping[str, Acting]) -> int:
    return sum(name.endswith(_SUFFIX) for name in exchanges)
