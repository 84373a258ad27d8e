"""What this worker may charge to budgets without asking: slices of them, granted by the controller.

A request that counts against budgets holds its worst case in all of them, or in none. When a slice is too small the
request waits a moment while the controller is asked for more; whoever cannot be covered is refused with what is left.
Nothing here is an authority: slices are rebuilt from what the controller grants, and grants only grow.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from headrace.economics.budgets import Slice
from headrace.state.table import Grants, Purse, Purses

WAIT_US: Final = 1_000_000
ASK_AGAIN_US: Final = 300_000  # a controller that has just started lets questions fall that it cannot answer yet
REST_US: Final = 2_000_000
SLICES_MAX: Final = 4_096


@dataclass(slots=True)
class Denied:
    """Why a hold was not given: too little is left of `budget`, or (without a budget) nobody answered."""

    budget: str = ""
    left_nanousd: int = 0
    limit_nanousd: int = 0


@dataclass(slots=True)
class _Waiter:
    budgets: Sequence[str]
    nanousd: int
    done: Callable[[Denied | None], None]
    deadline_us: int
    asked: dict[str, int] = field(default_factory=dict)  # by budget, the question that covers this waiter


class Wallet:
    """The slices of one worker. `send` gives a message to the link and tells whether there is one."""

    def __init__(self, epoch: str, send: Callable[[Purses], bool]) -> None:
        self._epoch = epoch
        self._send = send
        self._slices: dict[str, Slice] = {}
        self._waiting: list[_Waiter] = []
        self._used_us: dict[str, int] = {}
        self._question = 0
        self._open: dict[str, tuple[int, int]] = {}  # by budget, the question that has no answer yet, and since when
        self._now_us = 0

    @property
    def waits(self) -> bool:
        """Whether somebody waits for a grant."""
        return bool(self._waiting)

    def hold(self, budgets: Sequence[str], nanousd: int) -> bool:
        """Hold an amount in every budget, or in none."""
        slices = [self._slice(budget) for budget in budgets]
        if any(nanousd > each.free for each in slices):
            return False
        for each in slices:
            each.hold(nanousd)
        return True

    def ask(
        self, budgets: Sequence[str], nanousd: int, now_us: int, done: Callable[[Denied | None], None]
    ) -> Callable[[], None]:
        """Hold an amount once there is enough: `done(None)`; or `done` with why not. Returns what cancels it."""
        waiter, self._now_us = _Waiter(budgets, nanousd, done, now_us + WAIT_US), now_us
        self._waiting.append(waiter)
        self._question_all()

        def cancel() -> None:
            if waiter in self._waiting:
                self._waiting.remove(waiter)

        return cancel

    def free(self, budgets: Sequence[str]) -> int:
        """What could still be held in all of these."""
        return min((self._slice(budget).free for budget in budgets), default=0)

    def settle(self, budgets: Sequence[str], held: int, charge: int) -> None:
        """A request has ended."""
        for budget in budgets:
            self._slice(budget).settle(held, charge)
        if self._waiting:
            self._serve({})

    def granted(self, grants: Grants) -> None:
        """The controller's word: serve who waits, refuse who cannot be covered, give back what it asks for."""
        answered: dict[str, tuple[int, int, int]] = {}
        given: dict[str, Purse] = {}
        for budget, grant in grants.grants.items():
            mine = self._slice(budget)
            mine.granted = max(mine.granted, grant.granted)
            if grant.ask:
                answered[budget] = (grant.ask, grant.left, grant.limit)
                if self._open.get(budget, (0, 0))[0] == grant.ask:
                    del self._open[budget]
        self._serve(answered)
        for budget, grant in grants.grants.items():
            if grant.recall:
                self._slice(budget).give_back()
                given[budget] = self._purse(budget)
        if given:
            self._send(Purses(epoch=self._epoch, purses=given))
        self._question_all()

    def connected(self) -> Purses:
        """What a controller is told first: everything this worker was ever granted. Open questions are asked again."""
        self._open.clear()
        for waiter in self._waiting:
            waiter.asked.clear()
        return Purses(epoch=self._epoch, purses={budget: self._purse(budget) for budget in self._slices}, whole=True)

    def rest(self, now_us: int) -> None:
        """Give back what has not been used for a while, so that a budget nobody uses is wholly free."""
        given: dict[str, Purse] = {}
        for budget, each in self._slices.items():
            if each.held or not each.free:
                self._used_us[budget] = now_us
            elif now_us - self._used_us.setdefault(budget, now_us) > REST_US:
                each.give_back()
                given[budget] = self._purse(budget)
        if given:
            self._send(Purses(epoch=self._epoch, purses=given))

    def tick(self, now_us: int) -> None:
        """Who has waited too long is told that nobody answers; what was not answered in a while is asked again."""
        self._now_us = now_us
        late = [waiter for waiter in self._waiting if now_us > waiter.deadline_us]
        for waiter in late:
            self._waiting.remove(waiter)
            waiter.done(Denied())
        for budget, (_, asked_us) in list(self._open.items()):
            if now_us - asked_us >= ASK_AGAIN_US:
                self._ask_anew(budget)
        self._question_all()

    # --- within --------------------------------------------------------------------------------------------------

    def _ask_anew(self, budget: str) -> None:
        del self._open[budget]
        for waiter in self._waiting:
            waiter.asked.pop(budget, None)

    def _slice(self, budget: str) -> Slice:
        found = self._slices.get(budget)
        if found is None:
            if len(self._slices) >= SLICES_MAX:
                self._forget()
            found = self._slices[budget] = Slice()
        return found

    def _forget(self) -> None:
        """Budgets of periods that are over: everything was given back or spent, and nothing is held."""
        for budget, each in list(self._slices.items()):
            if not each.held and not each.free:
                del self._slices[budget]
                self._used_us.pop(budget, None)

    def _purse(self, budget: str, wanted: int = 0, ask: int = 0) -> Purse:
        mine = self._slice(budget)
        return Purse(granted=mine.granted, returned=mine.returned, wanted=wanted, part=True, ask=ask)

    def _serve(self, answered: dict[str, tuple[int, int, int]]) -> None:
        """In the order they came; a small one is not held up by a large one before it."""
        for waiter in list(self._waiting):
            if self.hold(waiter.budgets, waiter.nanousd):
                self._waiting.remove(waiter)
                waiter.done(None)
                continue
            for budget in waiter.budgets:
                ask, left, limit = answered.get(budget, (0, 0, 0))
                mine = self._slice(budget)
                if ask and waiter.asked.get(budget, ask + 1) <= ask and waiter.nanousd > mine.free:
                    self._waiting.remove(waiter)
                    waiter.done(Denied(budget, max(0, left) + max(0, mine.free), limit))
                    break

    def _question_all(self) -> None:
        """One question a budget at a time, for everybody who waits for it."""
        short: dict[str, int] = {}
        for waiter in self._waiting:
            for budget in waiter.budgets:
                short[budget] = short.get(budget, 0) + waiter.nanousd
        asking: dict[str, Purse] = {}
        for budget, nanousd in short.items():
            wanted = nanousd - max(0, self._slice(budget).free)
            if wanted <= 0 or budget in self._open:
                continue
            if all(budget not in waiter.budgets or budget in waiter.asked for waiter in self._waiting):
                continue  # answered, and they wait for another budget
            self._question += 1
            asking[budget] = self._purse(budget, wanted, self._question)
        if asking and self._send(Purses(epoch=self._epoch, purses=asking)):
            for budget, purse in asking.items():
                self._open[budget] = (purse.ask, self._now_us)
                for waiter in self._waiting:
                    if budget in waiter.budgets:
                        waiter.asked.setdefault(budget, purse.ask)
