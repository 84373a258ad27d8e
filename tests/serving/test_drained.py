"""An answer that comes early waits for the rest of its request, and is not lost with it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from headrace.serving.drained import Drained

Ask = Callable[[], Awaitable[dict[str, Any]]]
Say = Callable[[dict[str, Any]], Awaitable[None]]


async def early(_scope: Any, _receive: Ask, send: Say) -> None:
    """Refuses without a look."""
    await send({"type": "http.response.start", "status": 400, "headers": []})
    await send({"type": "http.response.body", "body": b"no"})


async def careful(_scope: Any, receive: Ask, send: Say) -> None:
    """Reads all of it first."""
    while (await receive()).get("more_body"):
        pass
    await early(_scope, receive, send)


def asked(app: Any, *pieces: dict[str, Any]) -> list[str]:
    """What happened, in order; who asks for more than there is waits for ever."""
    happened: list[str] = []
    left = list(pieces)

    async def receive() -> dict[str, Any]:
        if not left:
            await asyncio.Event().wait()
        happened.append("read")
        return left.pop(0)

    async def send(message: dict[str, Any]) -> None:
        happened.append(message["type"].removeprefix("http.response."))

    async def life() -> None:
        async with asyncio.timeout(5):
            await Drained(app)({"type": "http"}, receive, send)

    asyncio.run(life())
    return happened


PIECE, LAST = ({"type": "http.request", "body": b"x", "more_body": more} for more in (True, False))
GONE = {"type": "http.disconnect"}


@pytest.mark.parametrize("pieces", [[LAST], [PIECE, PIECE, LAST], [PIECE, GONE]])
def test_what_is_left_is_read_before_the_answer_ends(pieces: list[dict[str, Any]]):
    """To its end, or that of its sender."""
    assert asked(early, *pieces) == ["start", *["read"] * len(pieces), "body"]


@pytest.mark.parametrize("pieces", [[LAST], [PIECE, PIECE, LAST]])
def test_who_has_read_it_waits_for_nothing(pieces: list[dict[str, Any]]):
    """There is no more to come, and nobody would say so."""
    assert asked(careful, *pieces) == [*["read"] * len(pieces), "start", "body"]
