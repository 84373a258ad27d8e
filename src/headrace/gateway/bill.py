"""What a request may come to at most, what it did come to, and the budgets it counts against; pinned at admission."""

from collections.abc import Sequence
from typing import Final

from headrace.economics.budgets import Budget
from headrace.economics.metering import measured
from headrace.economics.prices import Book, charge_nanousd
from headrace.errors import Refused
from headrace.specs.priced import ITEMS, Unit
from headrace.state.table import Price, RouteBudget, RouteKey, RouteModel
from headrace.wire.call import ONCE, Asking, Call
from headrace.wire.instructed import SHOWN_MAX
from headrace.wire.usage import Counts

BUSY_US_MAX: Final = 600_000_000  # how long a request may hold a slot; see patience.TOTAL_US
TEMPLATE_TOKENS: Final = 128  # what a chat template may add to a prompt, beyond its turns
_REMINDER_TOKENS: Final = 4 * SHOWN_MAX + 1_024  # what a question that is asked again has more, beside the wish
NANOUSD_PER_USD: Final = 10**9


class Bill:
    """One request's money. `bound` is its worst case, which is what budgets hold and a charge never passes.

    `asking` is how many calls of engines it may come to.
    """

    __slots__ = (
        "_agent_steps",
        "_by_version",
        "_dearest",
        "_settled",
        "asking",
        "bound",
        "budgets",
        "cap",
        "charge",
        "degrades",
        "held_in",
        "note",
        "price",
    )

    def __init__(self, book: Book, versions: Sequence[RouteModel], key: RouteKey, now_us: int) -> None:
        found = {f"{m.name}@{m.version}": book.find(m.name, m.version, key.tenant) for m in versions}
        self._by_version: dict[str, Price] = {name: price for name, price in found.items() if price is not None}
        self.price: Price | None = None
        self._dearest: Price | None = None
        self.degrades = self._settled = False
        self.budgets: tuple[str, ...] = ()
        self.asking: Asking = ONCE
        self.held_in: tuple[str, ...] = ()
        if key.budgets:
            every = list(zip(named(key.budgets, now_us), (b.at_limit for b in key.budgets), strict=True))
            self.budgets = tuple(name for name, _ in every)
            self.held_in = tuple(name for name, at_limit in every if at_limit != "notify")
            self.degrades = all(at_limit == "degrade" for _, at_limit in every if at_limit != "notify")
        self.bound = self.charge = self._agent_steps = 0
        self.note = ""
        self.cap: int | None = None

    def bind(self, call: Call, output_bound: int, context_tokens: int) -> None:
        """Work out the worst case: the longest prompt and answer there can be. Raises Refused without a price."""
        if not self._by_version:
            message = f"The model {call.model!r} has no price yet, so it cannot be served."
            raise Refused(message, status=503, code="model_unavailable")
        used = worst(call, output_bound, context_tokens, self.asking)
        bounds = {version: charge_nanousd(_dearest(price), used) for version, price in self._by_version.items()}
        dearest = max(bounds, key=lambda version: bounds[version])
        self._agent_steps = call.agent_steps
        self.bound, self._dearest = bounds[dearest], self._by_version[dearest]
        if self.cap is not None and self.bound > self.cap:
            message = f"This may come to ${dollars(self.bound)}, and x-headrace-max-cost allows ${dollars(self.cap)}."
            raise Refused(message, status=429, code="insufficient_quota")

    def shorten(self, call: Call, context_tokens: int, nanousd: int) -> bool:
        """Make a call ask for an answer that so much money covers; False when it covers none."""
        tokens = self._affordable(call, context_tokens, nanousd) // (call.n * self.asking.tries) - 1
        if call.task != "chat" or tokens < 1:
            return False
        call.output_max = min(tokens, context_tokens)
        self.note = f"the budget allows {call.output_max} tokens of answer"
        return True

    def _affordable(self, call: Call, context_tokens: int, nanousd: int) -> int:
        """How many tokens of answer, over all choices, so much money covers."""
        without = worst(call, 0, context_tokens, self.asking)
        most = None
        for price in self._by_version.values():
            rest = nanousd - charge_nanousd(_dearest(price), without)
            each = price.units.get("output_tokens", 0)
            tokens = max(0, rest) * 1000 // each if each else (context_tokens if rest >= 0 else 0)
            most = tokens if most is None else min(most, tokens)
        return most or 0

    def served_by(self, version: str) -> None:
        """The version that took it, `name@version`, decides the price.

        A version that came while the request was held has none that was pinned: the dearest of those pinned then holds,
        which `bound` covers. Work is never free because a version is new.
        """
        self.price = self._by_version.get(version, self._dearest)

    def settle(self, task: str, outcome: str, counts: Counts, *, began: bool, busy_us: int) -> int:
        """What it comes to, never more than its worst case. Fixed by the first call, lest two moments tell two sums."""
        if self.price is not None and not self._settled:
            self._settled = True
            steps = self._agent_steps
            used = measured(task, outcome, counts, began=began, busy_us=busy_us, agent_steps=steps)
            self.charge = min(self.bound, charge_nanousd(self.price, used))
        return self.charge

    def reopen(self) -> None:
        """The attempt that was billed came to nothing."""
        self._settled, self.charge = False, 0

    def header(self) -> bytes:
        """The charge as header lines."""
        return b"x-headrace-cost: %b\r\nx-headrace-cost-unit: USD\r\n" % dollars(self.charge).encode()

    def shown(self) -> dict[str, str]:
        """The charge as it stands in `usage.headrace`."""
        made = {"cost": dollars(self.charge), "unit": "USD", "price": self.price.id if self.price else ""}
        return {**made, "note": self.note} if self.note else made


def worst(call: Call, output_bound: int, context_tokens: int, asking: Asking = ONCE) -> dict[Unit, int]:
    """The most a call may use. A token is a byte at least, and a prompt never longer than the context.

    Should an engine count more all the same, the charge ends at this bound: the rest is ours to bear. A prompt counts
    once, however many choices are made of it, and each time that one is asked for again.
    """
    prompts = max(1, call.items)
    turns = 2 * (call.input_tokens - call.input_bytes // 3)  # the estimate's own allowance for them, twice
    prompt = min(context_tokens * prompts, call.input_bytes + turns + TEMPLATE_TOKENS + asking.more_bytes)
    again = min(context_tokens, prompt + _REMINDER_TOKENS + asking.more_bytes) * call.n * (asking.tries - 1)
    used: dict[Unit, int] = {
        "input_tokens": prompt + again,
        "output_tokens": (output_bound + call.n) * asking.tries if call.task == "chat" else 0,
        "requests": 1,
        "busy_us": BUSY_US_MAX * asking.side * asking.tries,
    }
    if call.items and call.task in ITEMS:
        used[ITEMS[call.task]] = call.items
    if call.agent_steps:
        used["agent_steps"] = call.agent_steps
    return used


def _dearest(price: Price) -> Price:
    """Where cached tokens cost more than fresh ones, any token might be one."""
    cached = price.units.get("cached_tokens", 0)
    if cached <= price.units.get("input_tokens", 0):
        return price
    return Price(id=price.id, model=price.model, units={**price.units, "input_tokens": cached})


def dollars(nanousd: int) -> str:
    """Nano-dollars as dollars, all nine decimals.

    >>> dollars(1_580)
    '0.000001580'
    """
    whole, rest = divmod(nanousd, NANOUSD_PER_USD)
    return f"{whole}.{rest:09}"


def named(budgets: Sequence[RouteBudget], now_us: int) -> tuple[str, ...]:
    """The ids of budgets in the period of a moment."""
    return tuple(
        Budget(scope=b.scope, period=b.period, limit_nanousd=0).id(now_us)  # type: ignore[arg-type] # one of its literals
        for b in budgets
    )
