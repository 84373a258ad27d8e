"""A response that is kept: OpenAI's response object, the input it answered, and what it goes on from. Pure."""

import hashlib
import secrets
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from headrace.wire import responses, responses_answer

KEPT_S: Final = 30 * 86_400
TURNS_MAX: Final = 1_000
ENDED: Final = frozenset({"completed", "incomplete", "failed", "cancelled"})
ANSWERED: Final = frozenset({"completed", "incomplete"})
_OURS: Final = ("input", "store", "background", "previous_response_id")
_PREFIXES: Final = {"message": "msg", "function_call": "fc", "function_call_output": "fco", "reasoning": "rs"}


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """One response. `body` is what was asked but for its input; `items` are this turn's input, earlier ones are not.

    `previous` is the response it goes on from, empty for none. `created_s` is in seconds since 1970. The rest matters
    in the background alone: `key` is the id of the key it acts for, `headers` are those of its request that hold for
    it, `digest` tells its request from another one, `attempt` counts askings that may be paid.
    """

    id: str
    tenant: str
    key: str
    created_s: int
    body: dict[str, Any]
    items: list[dict[str, Any]]
    response: dict[str, Any]
    previous: str = ""
    background: bool = False
    headers: dict[str, str] = {}
    digest: str = ""
    attempt: int = 1

    @property
    def status(self) -> str:
        """OpenAI's."""
        return str(self.response["status"])

    @property
    def streamed(self) -> bool:
        """Whether it has events that can be followed."""
        return self.background and bool(self.body.get("stream"))

    def view(self) -> dict[str, Any]:
        """The response object, as its owner sees it."""
        return shown(self.response, self.id, self.previous, background=self.background)


def shown(
    response: dict[str, Any], name: str, previous: str, *, store: bool = True, background: bool = False
) -> dict[str, Any]:
    """A response of the gateway, which knows nothing of keeping, with what it is here."""
    return {**response, "id": name, "store": store, "previous_response_id": previous or None, "background": background}


def new_id(tenant: str, once: str) -> str:
    """A name that nobody can guess; for the Idempotency-Key `once` of a tenant, the same each time."""
    if not once:
        return f"resp_{secrets.token_hex(16)}"
    return f"resp_{hashlib.sha256(f'{tenant}/{once}'.encode()).hexdigest()[:32]}"


def items(given: str | Sequence[dict[str, Any]] | None) -> list[dict[str, Any]]:
    """An input as items with ids, in the long form in which they are shown."""
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    return [_item(item) for item in given or ()]


def _item(given: dict[str, Any]) -> dict[str, Any]:
    made = {"type": "message", **given}
    kind = made["type"]
    if not made.get("id"):
        made["id"] = f"{_PREFIXES.get(kind, 'item')}_{secrets.token_hex(16)}"
    if kind != "reasoning" and not made.get("status"):
        made["status"] = "completed"
    if kind == "message" and isinstance(made["content"], str):
        text = made["content"]
        said = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
        made["content"] = [said if made["role"] == "assistant" else {"type": "input_text", "text": text}]
    return made


def conversation(turns: Sequence[Kept], last: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All that was said: of each earlier turn what was asked and answered, then what is asked now."""
    earlier = [item for turn in turns for item in (*turn.items, *turn.response["output"])]
    return [*earlier, *last]


def stateless(body: dict[str, Any], said: list[dict[str, Any]]) -> dict[str, Any]:
    """What the gateway is asked: the same with all that was said, and nothing that is kept."""
    return {**{name: value for name, value in body.items() if name not in _OURS}, "input": said}


def queued(body: dict[str, Any], name: str, created_s: int) -> dict[str, Any]:
    """The response of which nothing has been done. Raises Invalid."""
    call = responses.parse(msgspec.json.encode(body))
    assert isinstance(call, responses.ResponsesCall), "what it parses"
    facts = responses_answer.Facts(request_id="", created_s=created_s, echo=call.echo)
    return {**responses_answer.response(facts, "queued", []), "id": name}


def failed(response: dict[str, Any], code: str, message: str) -> dict[str, Any]:
    """The same, of which there will be no more."""
    return {**response, "status": "failed", "error": {"code": "server_error", "message": f"{code}: {message}"}}


def priced(response: dict[str, Any], cost: str | None) -> dict[str, Any]:
    """With its charge in US dollars, where that is known and not told already."""
    usage = response.get("usage")
    if cost is None or not isinstance(usage, dict) or "headrace" in usage:
        return response
    return {**response, "usage": {**usage, "headrace": {"cost": cost, "unit": "USD"}}}
