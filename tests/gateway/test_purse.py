"""One worker's slices of budgets: held in all or in none, asked for once at a time, and nothing left behind."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from headrace.economics.budgets import Escrow
from headrace.gateway.purse import ASK_AGAIN_US, REST_US, WAIT_US, Denied, Wallet
from headrace.state.table import Grant, Grants, Purses


class Desk:
    """A wallet, what it sent, and what its waiters were told."""

    def __init__(self) -> None:
        self.sent: list[Purses] = []
        self.told: list[Denied | None] = []
        self.linked = True
        self.wallet = Wallet("e", self.send)

    def send(self, purses: Purses) -> bool:
        if self.linked:
            self.sent.append(purses)
        return self.linked

    def ask(self, nanousd: int, *budgets: str, now_us: int = 0):
        return self.wallet.ask(budgets or ("b",), nanousd, now_us, self.told.append)

    def grant(self, granted: int, budget: str = "b", ask: int | None = None, **more) -> None:
        if ask is None:
            ask = next(p.purses[budget].ask for p in reversed(self.sent) if budget in p.purses)
        self.wallet.granted(Grants(grants={budget: Grant(granted=granted, ask=ask, **more)}))


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_an_amount_is_held_in_every_budget_or_in_none(desk: Desk):
    """What one budget lacks is not taken from another."""
    desk.grant(100, "a", ask=0)
    desk.grant(50, "b", ask=0)
    assert not desk.wallet.hold(("a", "b"), 60)
    assert (desk.wallet.free(("a",)), desk.wallet.free(("b",)), desk.wallet.free(("a", "b"))) == (100, 50, 50)
    assert desk.wallet.hold(("a", "b"), 50)
    desk.wallet.settle(("a", "b"), 50, 20)
    assert (desk.wallet.free(("a",)), desk.wallet.free(("b",))) == (80, 30)


def test_who_waits_is_served_in_order_and_asked_for_once(desk: Desk):
    """One question at a time for everybody; a small one is not held up by a large one."""
    desk.ask(100)
    desk.ask(30)
    assert [p.purses["b"].wanted for p in desk.sent] == [100]
    desk.grant(40)
    assert desk.told == [Denied("b", 40, 0), None]


def test_a_refusal_says_what_is_left_and_names_the_budget(desk: Desk):
    """What this worker holds itself is left too."""
    desk.grant(10, "a", ask=0)
    desk.grant(100, "b", ask=0)
    desk.ask(60, "a", "b")
    desk.grant(10, "a", left=7, limit=500)
    assert desk.told == [Denied("a", 17, 500)]
    assert not desk.wallet.waits


def test_nobody_answers_is_told_after_a_second(desk: Desk):
    """With or without a link; the next request asks anew."""
    for linked in (True, False):
        desk.linked = linked
        desk.ask(100, now_us=5)
        desk.wallet.tick(5 + WAIT_US)
        assert desk.wallet.waits
        desk.wallet.tick(6 + WAIT_US)
        assert desk.told.pop() == Denied()
        assert not desk.wallet.waits


def test_a_question_that_fell_is_asked_again(desk: Desk):
    """A controller that has just started answers nobody until it knows what everybody holds."""
    desk.ask(100, now_us=0)
    desk.wallet.tick(ASK_AGAIN_US - 1)
    assert len(desk.sent) == 1
    desk.wallet.tick(ASK_AGAIN_US)
    first, again = (p.purses["b"].ask for p in desk.sent)
    assert again > first
    desk.grant(100)
    assert desk.told == [None]


def test_one_question_without_an_answer_does_not_close_a_budget_for_ever(desk: Desk):
    """Whoever comes later is asked for as well."""
    desk.ask(100, now_us=0)
    desk.wallet.tick(2 * WAIT_US)
    desk.ask(70, now_us=3 * WAIT_US)
    desk.wallet.tick(3 * WAIT_US + 1)
    assert desk.sent[-1].purses["b"].wanted == 70
    assert desk.sent[-1].purses["b"].ask > 1
    desk.grant(70)
    assert desk.told == [Denied(), None]


def test_the_answer_to_an_old_question_refuses_nobody_who_came_later(desk: Desk):
    """They are asked for themselves."""
    desk.ask(100)
    old = desk.sent[-1].purses["b"].ask
    desk.ask(500)
    desk.grant(100, ask=old)
    assert desk.told == [None]
    assert desk.sent[-1].purses["b"].wanted == 500
    desk.grant(100, left=3, limit=9)
    assert desk.told == [None, Denied("b", 3, 9)]


def test_who_leaves_while_waiting_holds_nothing(desk: Desk):
    """A grant that comes later is free for others; leaving twice is leaving once."""
    cancel = desk.ask(100)
    cancel()
    cancel()
    desk.grant(100)
    assert (desk.told, desk.wallet.free(("b",))) == ([], 100)


def test_what_ends_serves_who_waits(desk: Desk):
    """No controller is needed for what is here already."""
    desk.grant(100, ask=0)
    assert desk.wallet.hold(("b",), 90)
    desk.ask(60)
    desk.wallet.settle(("b",), 90, 10)
    assert desk.told == [None]


def test_what_rests_is_given_back_and_what_is_held_is_not(desk: Desk):
    """After two seconds; so a budget that nobody uses is wholly free."""
    desk.grant(100, ask=0)
    assert desk.wallet.hold(("b",), 30)
    desk.wallet.rest(1)
    desk.wallet.rest(2 + REST_US)
    assert desk.sent == []
    desk.wallet.settle(("b",), 30, 30)
    desk.wallet.rest(3 + REST_US)
    desk.wallet.rest(4 + 2 * REST_US)
    (given,) = desk.sent
    assert (given.purses["b"].granted, given.purses["b"].returned) == (100, 70)
    assert desk.wallet.free(("b",)) == 0


def test_a_recall_gives_back_all_but_what_is_held(desk: Desk):
    """And who waits is served before."""
    desk.grant(100, ask=0)
    assert desk.wallet.hold(("b",), 30)
    desk.wallet.granted(Grants(grants={"b": Grant(granted=100, recall=True)}))
    assert desk.sent[-1].purses["b"].returned == 70
    desk.wallet.granted(Grants(grants={"b": Grant(granted=100, recall=True)}))
    assert desk.sent[-1].purses["b"].returned == 70


def test_a_new_controller_is_told_everything_and_asked_again(desk: Desk):
    """Whole, with what was ever granted."""
    desk.grant(100, "a", ask=0)
    desk.ask(50)
    hello = desk.wallet.connected()
    assert hello.whole
    assert {name: purse.granted for name, purse in hello.purses.items()} == {"a": 100, "b": 0}
    desk.wallet.tick(1)
    assert desk.sent[-1].purses["b"].ask == 2


def test_budgets_of_long_ago_are_forgotten(desk: Desk, monkeypatch):
    """As many slices as are of use; those with something in them stay."""
    monkeypatch.setattr("headrace.gateway.purse.SLICES_MAX", 10)
    desk.grant(5, "kept", ask=0)
    for number in range(100):
        desk.wallet.hold((f"day{number}",), 1)
    assert len(desk.wallet._slices) <= 11
    assert desk.wallet.free(("kept",)) == 5


NAMES = ("a", "b")
LIMIT = 1_000


class Requests(RuleBasedStateMachine):
    """Requests on two budgets, a controller that answers, is late, or loses messages; in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.now_us = self.spent = self.waiting = 0
        self.messages: list[Purses] = []
        self.at_work: list[tuple[tuple[str, ...], int]] = []
        self.cancels: list = []
        self.wallet = Wallet("e", lambda message: (self.messages.append(message), True)[1])
        self.escrows = {name: Escrow(LIMIT, 0) for name in NAMES}
        self.charged = dict.fromkeys(NAMES, 0)

    @rule(budgets=st.sampled_from([("a",), ("b",), NAMES]), nanousd=st.integers(1, 600))
    def come(self, budgets: tuple[str, ...], nanousd: int) -> None:
        if self.wallet.hold(budgets, nanousd):
            self.at_work.append((budgets, nanousd))
            return
        self.waiting += 1
        told: list[int] = []

        def done(denied: Denied | None) -> None:
            assert not told, "a waiter is told once"
            told.append(1)
            self.waiting -= 1
            if denied is None:
                self.at_work.append((budgets, nanousd))

        cancel = self.wallet.ask(budgets, nanousd, self.now_us, done)
        self.cancels.append((cancel, told))

    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        if self.cancels:
            cancel, told = self.cancels.pop(data.draw(st.integers(0, len(self.cancels) - 1)))
            cancel()
            if not told:
                told.append(1)
                self.waiting -= 1

    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        if self.at_work:
            budgets, held = self.at_work.pop(data.draw(st.integers(0, len(self.at_work) - 1)))
            charge = data.draw(st.integers(0, held))
            for name in budgets:
                self.charged[name] += charge
                self.escrows[name].settle("e", charge)
            self.wallet.settle(budgets, held, charge)

    @rule(lost=st.booleans())
    def answer(self, lost: bool) -> None:
        if not self.messages:
            return
        grants = {}
        for name, purse in self.messages.pop(0).purses.items():
            escrow = self.escrows[name]
            escrow.heard("e", purse.granted, purse.returned)
            if purse.ask:
                granted = escrow.grant("e", purse.wanted, 2, part=purse.part)
                grants[name] = Grant(granted=granted, ask=purse.ask, left=max(0, escrow.free), limit=LIMIT)
        if grants and not lost:
            self.wallet.granted(Grants(grants=grants))

    @rule(by=st.integers(1, 2_000_000))
    def time_passes(self, by: int) -> None:
        self.now_us += by
        self.wallet.tick(self.now_us)
        self.wallet.rest(self.now_us)

    @rule()
    def recall(self) -> None:
        self.wallet.granted(Grants(grants={name: Grant(granted=0, recall=True) for name in NAMES}))

    @invariant()
    def nothing_is_overshot_and_what_is_held_is_at_work(self) -> None:
        for name in NAMES:
            held = sum(amount for budgets, amount in self.at_work if name in budgets)
            assert self.wallet._slice(name).held == held
            assert self.charged[name] + held <= LIMIT
        assert self.wallet.waits == (self.waiting > 0)

    def teardown(self) -> None:
        for budgets, held in self.at_work:
            self.wallet.settle(budgets, held, 0)
        self.wallet.tick(self.now_us + 10 * WAIT_US)
        assert not self.wallet.waits
        assert all(each.held == 0 for each in self.wallet._slices.values()), "after everything, nothing is reserved"


Requests.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestRequests = Requests.TestCase
