"""What an answer of the gateway means to who asked, and what it was charged."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from headrace.errors import Invalid, Refused, Unreachable
from headrace.serving.loopback import Answered, Loopback
from headrace.units import US_PER_S, nanousd

Verdict = Literal["done", "busy", "broken", "denied"]
_TRIES: Final = 5
_FIRST_S: Final = 0.1


def verdict(answered: Answered) -> Verdict:
    """`done`: this is the answer. `busy`: later. `broken`: theirs, once more. `denied`: the key is not known (now)."""
    if answered.status == 401:
        return "denied"
    if answered.status in (429, 503):
        return "done" if code(answered) == "insufficient_quota" else "busy"
    if answered.status == 409 and wait_us(answered):
        return "busy"  # the same request is at work
    return "broken" if answered.status in (408, 500, 502, 504) else "done"


def wait_us(answered: Answered) -> int:
    """How long the gateway asks to wait, 0 when it does not say."""
    text = answered.headers.get("retry-after", "")
    return int(text) * US_PER_S if text.isascii() and text.isdigit() else 0


def code(answered: Answered) -> str:
    """The code of a refusal, empty when there is none."""
    return error(answered).get("code") or ""


def error(answered: Answered) -> dict[str, Any]:
    """OpenAI's error object, empty when there is none."""
    try:
        found = msgspec.json.decode(answered.body)["error"]
    except (msgspec.MsgspecError, UnicodeDecodeError, KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


def request_id(answered: Answered) -> str:
    """Whose answer it is: of a repeat, that of the request that did the work."""
    return answered.headers.get("x-headrace-replayed") or answered.headers.get("x-request-id", "")


async def welcome(
    loopback: Loopback, key: str, path: str, data: bytes, headers: Mapping[str, str] | None = None
) -> None:
    """Whether the gateway would take this POST, at no cost. Raises Invalid or Refused in its words, or Unreachable."""
    given = {**(headers or {}), "x-headrace-dry-run": "quote"}
    given.pop("idempotency-key", None)  # a quote is not what is to be done once
    answered = await loopback.send("POST", path, key=key, data=data, headers=given)
    if answered.status == 200:
        return
    told = error(answered)
    message, name = str(told.get("message", "the gateway refused it")), str(told.get("code") or "refused")
    if answered.status >= 500 or answered.status == 401:
        raise Unreachable(message)
    if answered.status in (403, 429):
        raise Refused(message, status=answered.status, code=name, retry_after_us=wait_us(answered) or None)
    raise Invalid(message, status=answered.status, code=name, param=told.get("param"))


async def charge(loopback: Loopback, key: str, answered: Answered) -> int | None:
    """Nano-dollars of a good answer: told with it, or looked up for a repeat; None when that cannot be learned now."""
    told = answered.headers.get("x-headrace-cost")
    return nanousd(told) if told else await booked(loopback, key, request_id(answered))


async def booked(loopback: Loopback, key: str, request: str) -> int | None:
    """What the books say of a finished request; they may be a moment behind."""
    for again in range(_TRIES):
        try:
            answered = await loopback.send("GET", f"/headrace/v1/explain/{request}", key=key)
            found = msgspec.json.decode(answered.body) if answered.status == 200 else {}
        except (Unreachable, msgspec.MsgspecError, UnicodeDecodeError):
            found = {}
        if found.get("kind") == "request" and "charge_nanousd" in (found.get("request") or {}):
            return int(found["request"]["charge_nanousd"])
        await asyncio.sleep(_FIRST_S * 2**again)
    return None
