"""What a call would cost, before it is made: the expected charge, and the most it could come to."""

from typing import Protocol

from headrace.errors import Invalid, Refused
from headrace.gateway import counting, refusals
from headrace.gateway.bill import Bill, dollars
from headrace.gateway.client import Client
from headrace.gateway.directory import Directory
from headrace.gateway.reply import Reply
from headrace.gateway.sizes import Sizes
from headrace.state.table import RouteModel
from headrace.wire.call import ONCE, Call
from headrace.wire.usage import Counts


class Desk(Protocol):
    """What a quote needs of its worker."""

    directory: Directory
    sizes: Sizes


async def answer(desk: Desk, client: Client, reply: Reply, bill: Bill, call: Call, model: RouteModel) -> None:
    """Tell a quote, or why there is none."""
    reply.kind = b"application/json"  # whatever the call itself would answer with
    try:
        found = await quote(desk, bill, call, model)
        reply.whole(call.quoted(found), b"x-headrace-basis: %b\r\n" % str(found["basis"]).encode())
    except (Invalid, Refused) as error:
        reply.abandoned()
        client.write(refusals.refusal(error, reply.headers, reply.voice))
        client.finished()


async def quote(desk: Desk, bill: Bill, call: Call, model: RouteModel) -> dict[str, object]:
    """The quote of one call.

    Expected: the tokens of its prompt, and as many of answer as it may have. `basis` says how the prompt was counted:
    by the tokenizer of a ready replica, learned from requests like it, or estimated from its bytes.
    """
    bound = call.output_bound(model.output_tokens_default, model.context_tokens)
    bill.asking = call.asking(model.ability)
    sent = call if bill.asking == ONCE else call.parts(model.ability)[0]
    _, body = sent.render(model.ability, model.name, model.output_tokens_default, model.context_tokens)
    basis, tokens = "tokenizer", await _counted(desk, model, body)
    if tokens is None:
        basis, tokens = desk.sizes.tokens(call)
    bill.bind(call, bound, model.context_tokens)
    bill.served_by(f"{model.name}@{model.version}")
    counts = Counts(input_tokens=min(tokens, model.context_tokens), output_tokens=bound, items=call.items)
    expected = bill.settle(model.task, "finished", counts, began=True, busy_us=0)
    return {
        "object": "headrace.quote",
        "model": model.name,
        "input_tokens": counts.input_tokens,
        "basis": basis,
        "output_tokens": bound,
        "expected": dollars(min(expected, bill.bound)),
        "worst_case": dollars(bill.bound),
        "unit": "USD",
        "price": bill.price.id if bill.price else "",
        "units": {unit: str(pico) for unit, pico in (bill.price.units if bill.price else {}).items()},
    }


async def _counted(desk: Desk, model: RouteModel, body: bytes) -> int | None:
    for pool in desk.directory.pools.values():
        replica = pool.replica
        if (replica.model, replica.version, replica.phase) == (model.name, model.version, "ready"):
            return await counting.tokens(pool, model.ability.dialect, body)
    return None
