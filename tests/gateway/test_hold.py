"""A hold is taken before an engine sees the request, settled once, and released in every case."""

import msgspec
import pytest

from headrace.economics.prices import Book
from headrace.gateway.bill import Bill
from headrace.gateway.hold import Hold
from headrace.gateway.purse import WAIT_US, Wallet
from headrace.state.table import Grant, Grants, Price, Purses, RouteBudget
from tests.gateway.test_bill import CONTEXT, KEY, read
from tests.gateway.world import UNITS, model


class Request:
    """Who holds: what became of it."""

    def __init__(self, at_limit: str = "refuse", scope: str = "tenant:t") -> None:
        key = msgspec.structs.replace(KEY, budgets=(RouteBudget(scope=scope, period="day", at_limit=at_limit),))
        self.call = read(max_tokens=100)
        self.bill = Bill(Book([Price(id="p", model="m@v1", units=UNITS)]), [model()], key, 0)
        self.bill.bind(self.call, 100, CONTEXT)
        self.said: list[tuple[str, ...]] = []

    def admitted(self) -> None:
        self.said.append(("admitted",))

    def shorten(self, nanousd: int) -> bool:
        if not self.bill.shorten(self.call, CONTEXT, nanousd):
            return False
        self.bill.bind(self.call, self.call.output_bound(64, CONTEXT), CONTEXT)
        return True

    def fail(self, code: str, message: str, *, retry_after_us: int | None = None) -> None:
        self.said.append((code, message, str(retry_after_us)))


class Desk:
    def __init__(self) -> None:
        self.sent: list[Purses] = []
        self.wallet = Wallet("e", lambda message: (self.sent.append(message), True)[1])

    def take(self, request: Request) -> Hold:
        hold = Hold(self.wallet, request.bill)
        hold.take(request, 0)
        return hold

    def grant(self, granted: int, **more) -> None:
        ((name, purse),) = self.sent[-1].purses.items()
        self.wallet.granted(Grants(grants={name: Grant(granted=granted, ask=purse.ask, **more)}))

    @property
    def held(self) -> int:
        return sum(each.held for each in self.wallet._slices.values())

    @property
    def spent(self) -> int:
        return sum(each.spent for each in self.wallet._slices.values())


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_no_budget_asks_nobody(desk: Desk):
    """Nor does one that only notifies."""
    request = Request("notify")
    hold = desk.take(request)
    hold.settle(5)
    assert (request.said, desk.sent, desk.spent) == ([("admitted",)], [], 0)


def test_a_grant_admits_and_the_end_settles_once(desk: Desk):
    """What is not charged is free again; a second end changes nothing."""
    request = Request()
    hold = desk.take(request)
    assert request.said == []
    desk.grant(request.bill.bound)
    assert (request.said, desk.held) == ([("admitted",)], request.bill.bound)
    hold.settle(70)
    hold.settle(70)
    assert (desk.held, desk.spent, desk.wallet.free(request.bill.held_in)) == (0, 70, request.bill.bound - 70)


def test_a_refusal_names_the_limit_what_is_left_and_the_fix(desk: Desk):
    """In dollars, with the command."""
    request = Request()
    hold = desk.take(request)
    desk.grant(0, left=1_000, limit=2_000_000_000)
    ((code, message, _),) = request.said
    assert code == "insufficient_quota"
    for part in (
        "tenant:t (day)",
        "$0.000001000 of $2.000000000 left",
        "headrace budget set tenant:t DOLLARS --per day",
    ):
        assert part in message
    hold.settle(0)
    assert desk.held == 0


def test_silence_is_told_with_a_time_to_come_back(desk: Desk):
    """And what comes too late is free for others."""
    request = Request()
    desk.take(request)
    desk.wallet.tick(WAIT_US + 1)
    assert request.said[0][0] == "budget_unavailable"
    assert int(request.said[0][2]) >= 1
    desk.grant(request.bill.bound)
    assert (len(request.said), desk.held) == (1, 0)


def test_who_leaves_while_the_controller_is_asked_holds_nothing(desk: Desk):
    """No word is said to it any more."""
    request = Request()
    hold = desk.take(request)
    hold.cancel()
    desk.grant(request.bill.bound)
    hold.settle(0)
    assert (request.said, desk.held, desk.spent) == ([], 0, 0)
    hold.cancel()


def test_a_degrading_budget_shortens_to_what_is_left(desk: Desk):
    """What is held is the shorter answer's worst case; with nothing left it is a refusal."""
    request = Request("degrade")
    before = request.bill.bound
    hold = desk.take(request)
    desk.grant(before - 3_000)
    assert request.said == [("admitted",)]
    assert desk.held == request.bill.bound < before
    assert 1 <= (request.call.output_max or 0) < 100
    hold.settle(request.bill.bound)
    poor = Request("degrade")
    desk.take(poor)
    desk.grant(before - 3_000)
    assert [said[0] for said in poor.said] == ["insufficient_quota"]
    assert desk.held == 0
