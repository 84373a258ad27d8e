"""Budgets: whatever gateways do, in any order, with any deaths, nothing is spent beyond the limit."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from headrace.economics.budgets import Escrow, Slice

GATEWAYS = ["a", "b", "c"]
gateways = st.sampled_from(GATEWAYS)
amounts = st.integers(1, 400)


class Money(RuleBasedStateMachine):
    """One budget, three gateways, requests that hold and settle; reports that come late, and deaths."""

    def __init__(self) -> None:
        super().__init__()
        self.limit = 1000
        self.escrow = Escrow(self.limit, 0)
        self.names = {name: name for name in GATEWAYS}
        self.slices = {name: Slice() for name in GATEWAYS}
        self.at_work: list[tuple[str, str, int]] = []
        self.unread: list[tuple[str, int]] = []
        self.spent = 0
        self.deaths = 0

    @rule(gateway=gateways, wanted=amounts, part=st.booleans(), told=st.booleans())
    def ask(self, gateway: str, wanted: int, part: bool, told: bool) -> None:
        mine = self.slices[gateway]
        name = self.names[gateway]
        self.escrow.heard(name, mine.granted, mine.returned)
        granted = self.escrow.grant(name, wanted, 3, part=part)
        if told:  # else the message is lost; the escrow thinks it has more than it has
            mine.granted = max(mine.granted, granted)

    @rule(gateway=gateways, worst=amounts)
    def admit(self, gateway: str, worst: int) -> None:
        if self.slices[gateway].hold(worst):
            self.at_work.append((gateway, self.names[gateway], worst))

    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        if self.at_work:
            gateway, name, held = self.at_work.pop(data.draw(st.integers(0, len(self.at_work) - 1)))
            charge = data.draw(st.integers(0, held))
            self.slices[gateway].settle(held, charge)
            self.spent += charge
            self.unread.append((name, charge))

    @rule()
    def read(self) -> None:
        if self.unread:
            self.escrow.settle(*self.unread.pop(0))

    @rule(gateway=gateways)
    def recall(self, gateway: str) -> None:
        self.slices[gateway].give_back()
        self.escrow.heard(self.names[gateway], self.slices[gateway].granted, self.slices[gateway].returned)

    @rule(gateway=gateways)
    def die(self, gateway: str) -> None:
        name = self.names[gateway]
        self.at_work = [work for work in self.at_work if work[0] != gateway]
        for other, charge in [entry for entry in self.unread if entry[0] == name]:
            self.escrow.settle(other, charge)
        self.unread = [entry for entry in self.unread if entry[0] != name]
        self.escrow.gone(name)
        self.deaths += 1
        self.names[gateway] = f"{gateway}{self.deaths}"
        self.slices[gateway] = Slice()

    @rule()
    def new_controller(self) -> None:
        """It knows what was read, and of each gateway what that says; what was charged since is told by journals."""
        unread = {}
        for name, charge in self.unread:
            unread[name] = unread.get(name, 0) + charge
        fresh = Escrow(self.limit, self.escrow.settled)
        for gateway, mine in self.slices.items():
            name = self.names[gateway]
            holding = fresh.heard(name, mine.granted, mine.returned)
            holding.settled = mine.spent - unread.get(name, 0)
        self.escrow = fresh

    @invariant()
    def nothing_is_overshot(self) -> None:
        held = sum(mine.held for mine in self.slices.values())
        assert self.spent + held <= self.limit
        assert self.escrow.settled <= self.spent
        assert self.escrow.free >= 0


Money.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestMoney = Money.TestCase


def test_a_request_larger_than_what_is_left_gets_nothing():
    """Not even a part, unless a shorter answer will do."""
    escrow = Escrow(100, 40)
    assert escrow.grant("a", 61, 1) == 0
    assert escrow.grant("a", 61, 1, part=True) == 60
    assert escrow.free == 0


def test_a_gateway_is_granted_ahead_only_from_plenty():
    """2 % of the limit, and never more than its part of what is free."""
    escrow = Escrow(1_000_000, 0)
    assert escrow.grant("a", 10, 2) == 20_000
    nearly = Escrow(1_000_000, 999_900)
    assert nearly.grant("a", 10, 2) == 25
