"""A request's hold on its budgets: taken before an engine sees it, settled once, released in every case."""

from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from headrace.gateway.bill import Bill, dollars
from headrace.gateway.purse import Denied, Wallet

RETRY_US: Final = 1_000_000


class Holder(Protocol):
    """Whose hold it is."""

    def admitted(self) -> None:
        """The worst case is held, or no budget asks for it."""
        ...

    def shorten(self, nanousd: int) -> bool:
        """Ask for a shorter answer that so much money covers; False when none does."""
        ...

    def fail(self, code: str, message: str, *, retry_after_us: int | None = None) -> None:
        """The budgets do not cover it."""
        ...


class Hold:
    """One request's hold. It knows its holder only while the controller is asked: no cycle is left to collect."""

    __slots__ = ("_bill", "_held", "_unask", "_wallet")

    def __init__(self, wallet: Wallet, bill: Bill) -> None:
        self._wallet = wallet
        self._bill = bill
        self._unask: Callable[[], None] | None = None
        self._held = False

    def take(self, holder: Holder, now_us: int) -> None:
        """Hold the worst case now, or once the controller has granted more."""
        bill = self._bill
        if not bill.held_in:
            holder.admitted()
        elif self._wallet.hold(bill.held_in, bill.bound):
            self._held = True
            holder.admitted()
        else:
            answered = partial(self._answered, holder)
            self._unask = self._wallet.ask(bill.held_in, bill.bound, now_us, answered)

    def cancel(self) -> None:
        """Its client has left while the controller was asked."""
        if self._unask is not None:
            self._unask()
            self._unask = None

    def settle(self, charge: int) -> None:
        """The request has ended; what is not charged is free again."""
        if self._held:
            self._held = False
            self._wallet.settle(self._bill.held_in, self._bill.bound, charge)

    def _answered(self, holder: Holder, denied: Denied | None) -> None:
        self._unask = None
        bill = self._bill
        if denied is None:
            self._held = True
            holder.admitted()
        elif not denied.budget:
            message = "The budget cannot be asked just now; try again."
            holder.fail("budget_unavailable", message, retry_after_us=RETRY_US)
        elif self._degraded(holder):
            holder.admitted()
        else:
            holder.fail("insufficient_quota", _told(bill, denied))

    def _degraded(self, holder: Holder) -> bool:
        """A shorter answer, if all its budgets say so and what is left covers one."""
        bill = self._bill
        if bill.degrades and holder.shorten(self._wallet.free(bill.held_in)):
            self._held = self._wallet.hold(bill.held_in, bill.bound)
        return self._held


def _told(bill: Bill, denied: Denied) -> str:
    scope, period, _ = denied.budget.split("|")
    return (
        f"This request may cost ${dollars(bill.bound)} and the budget of {scope} ({period}) has "
        f"${dollars(denied.left_nanousd)} of ${dollars(denied.limit_nanousd)} left. "
        f"Lower max_tokens, or raise it with: headrace budget set {scope} DOLLARS --per {period}"
    )
