"""The authority over budgets: what each has left, who holds how much of it, and who is told when it runs low.

What was spent comes from the ledger alone and is read again, never counted along; what gateways hold comes from
themselves, so that a controller may be killed at any time. A controller that has just started grants nothing until
every gateway that lived before it has said what it holds.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from headrace.control.records import Records
from headrace.economics.budgets import Budget, Escrow
from headrace.ports import Clock, Store
from headrace.specs.catalog import Catalog
from headrace.state.table import Grant, Grants, Purse, Purses, RouteBudget
from headrace.units import dollars

RECALL_S: Final = 0.15
_WARNED: Final = "budget-warned:"
Tell = Callable[[str, Grants], None]


class Budgets:
    """One cloud's budgets. `tell` answers a gateway, `others` names the gateways on the link."""

    def __init__(
        self, store: Store, records: Records, clock: Clock, tell: Tell, others: Callable[[], list[str]]
    ) -> None:
        self._store = store
        self._records = records
        self._clock = clock
        self._tell = tell
        self._others = others
        self._wanted: dict[tuple[str, str], Budget] = {}
        self._escrows: dict[str, Escrow] = {}
        self._unheard: set[str] = set()
        self._heard = asyncio.Event()
        self._asking: set[asyncio.Task[None]] = set()

    # --- what is wanted -----------------------------------------------------------------------------------------

    def refresh(self, catalog: Catalog) -> None:
        """The budgets of the catalog's tenants and models, and those that were set here, which come first."""
        wanted: dict[tuple[str, str], Budget] = {}
        scopes = [(f"tenant:{one.name}", one.budgets) for one in catalog.tenants]
        scopes += [(f"model:{one.name}", one.budgets) for one in catalog.models]
        for scope, specs in scopes:
            for spec in specs:
                wanted[scope, spec.period] = Budget(
                    scope=scope,
                    period=spec.period,
                    limit_nanousd=spec.limit_nanousd,
                    at_limit=spec.at_limit,
                    warn_percent=spec.warn_percent,
                )
        for budget in self._store.statements.budgets():
            wanted[budget.scope, budget.period] = budget
        self._wanted = wanted
        for name, escrow in self._escrows.items():
            found = self._budget(name)
            if found is not None:
                escrow.limit = found.limit_nanousd
                if escrow.free < 0:
                    self._recall([name], "")

    def all(self) -> list[Budget]:
        """Every budget in force."""
        return [self._wanted[place] for place in sorted(self._wanted)]

    def of(self, tenant: str, team: str, key: str) -> tuple[RouteBudget, ...]:
        """The budgets that a key's requests count against."""
        scopes = (f"tenant:{tenant}", f"team:{tenant}/{team}", f"key:{key}")
        return tuple(
            RouteBudget(scope=budget.scope, period=budget.period, at_limit=budget.at_limit)
            for (scope, _), budget in sorted(self._wanted.items())
            if scope in scopes
        )

    def of_model(self, model: str) -> tuple[RouteBudget, ...]:
        """The budgets that all charges for a model count against."""
        return tuple(
            RouteBudget(scope=budget.scope, period=budget.period, at_limit=budget.at_limit)
            for (scope, _), budget in sorted(self._wanted.items())
            if scope == f"model:{model}"
        )

    def used_up(self, model: str) -> str:
        """Why a model is out of service by a budget of its own, empty when it is not."""
        for budget in self.all():
            if budget.scope != f"model:{model}" or budget.at_limit == "notify":
                continue
            spent = self.state(budget).settled
            if spent >= budget.limit_nanousd:
                what = f"${dollars(spent)} of ${dollars(budget.limit_nanousd)}"
                return (
                    f"its budget of the {budget.period} is spent, {what}; raise it with: "
                    f"headrace budget set {budget.scope} DOLLARS --per {budget.period}"
                )
        return ""

    def state(self, budget: Budget) -> Escrow:
        """What a budget's current period has come to."""
        return self._escrow(budget.id(self._clock.now_us()), budget.limit_nanousd)

    # --- what gateways ask --------------------------------------------------------------------------------------

    def began(self, alive: Iterable[str]) -> None:
        """A controller has started: these gateways may hold something that it has not heard of."""
        self._unheard = set(alive)

    def heard(self, purses: Purses) -> None:
        """A gateway tells what it holds, and perhaps asks for more."""
        for name, purse in purses.purses.items():
            found = self._budget(name)
            if found is not None:
                self._escrow(name, found.limit_nanousd).heard(purses.epoch, purse.granted, purse.returned)
        if purses.whole:
            self._unheard.discard(purses.epoch)
        self._heard.set()
        if any(purse.ask for purse in purses.purses.values()):
            task = asyncio.get_running_loop().create_task(self._answer(purses))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)

    async def _answer(self, purses: Purses) -> None:
        """Grant what there is; when that is too little, ask the others first for what they do not need."""
        short = [
            name
            for name, purse in purses.purses.items()
            if (found := self._budget(name)) and purse.wanted > self._escrow(name, found.limit_nanousd).free
        ]
        if self._unheard or (short and self._recall(short, purses.epoch)):
            await self._wait(purses.epoch, short)
        if self._unheard:
            return  # the gateway asks again, or says that it cannot be told
        grants = {name: self._grant(name, purses.epoch, purse) for name, purse in purses.purses.items() if purse.ask}
        self._tell(purses.epoch, Grants(grants=grants))

    async def _wait(self, epoch: str, short: list[str]) -> None:
        """Until the others have answered, within bounds."""
        waiting = {(name, other) for name in short for other in self._escrows[name].holdings if other != epoch}
        before = {place: self._escrows[place[0]].holdings[place[1]].returned for place in waiting}
        try:
            async with asyncio.timeout(RECALL_S):
                while True:
                    self._heard.clear()
                    await self._heard.wait()
                    changed = all(
                        (holding := self._escrows[name].holdings.get(other)) is None
                        or holding.returned != before[name, other]
                        or not holding.outstanding
                        for name, other in waiting
                    )
                    if changed and not self._unheard:
                        return
        except TimeoutError:
            return

    def _grant(self, name: str, epoch: str, purse: Purse) -> Grant:
        found = self._budget(name)
        if found is None:  # it was removed meanwhile: no limit
            return Grant(granted=purse.granted + purse.wanted, ask=purse.ask)
        escrow = self._escrow(name, found.limit_nanousd)
        granted = escrow.grant(epoch, purse.wanted, max(1, len(self._others())), part=purse.part)
        return Grant(granted=granted, ask=purse.ask, left=max(0, escrow.free), limit=escrow.limit)

    def _recall(self, names: list[str], asker: str) -> bool:
        """Ask gateways for what they hold and do not need; whether there was anybody to ask."""
        asked = False
        for other in self._others():
            grants = {
                name: Grant(granted=holding.granted, recall=True)
                for name in names
                if (holding := self._escrows[name].holdings.get(other)) is not None and holding.outstanding > 0
            }
            if other != asker and grants:
                self._tell(other, Grants(grants=grants))
                asked = True
        return asked

    # --- what the ledger says -----------------------------------------------------------------------------------

    def spent(self) -> None:
        """Something was charged: take what was spent from the ledger, and warn who wanted to know."""
        every = self._store.statements.budget_spent()
        for name, escrow in self._escrows.items():
            by_epoch = every.get(name, {})
            escrow.settled = sum(by_epoch.values())
            for epoch, holding in escrow.holdings.items():
                holding.settled = by_epoch.get(epoch, 0)
        for budget in self._wanted.values():
            name = budget.id(self._clock.now_us())
            self._warn(budget, name, sum(every.get(name, {}).values()))

    def _warn(self, budget: Budget, name: str, spent: int) -> None:
        reached = max((p for p in budget.warn_percent if spent * 100 >= p * budget.limit_nanousd), default=0)
        if not reached or int(self._store.get(_WARNED + name) or 0) >= reached:
            return
        self._store.put(_WARNED + name, str(reached).encode())
        self._records.decide(
            "budget.warning", budget.scope, f"{reached} % of the {budget.period}'s budget is spent", budget=name
        )

    def gone(self, epoch: str) -> None:
        """A gateway is dead and its journal settled: what it held is free again."""
        self._store.epoch_ended(epoch)
        for escrow in self._escrows.values():
            escrow.gone(epoch)
        self._unheard.discard(epoch)
        self._heard.set()
        self.spent()

    def _budget(self, name: str) -> Budget | None:
        scope, _, rest = name.partition("|")
        return self._wanted.get((scope, rest.partition("|")[0]))

    def _escrow(self, name: str, limit: int) -> Escrow:
        found = self._escrows.get(name)
        if found is None:
            by_epoch = self._store.statements.budget_spent().get(name, {})
            found = self._escrows[name] = Escrow(limit, sum(by_epoch.values()))
            for epoch in self._others():
                found.heard(epoch, 0, 0).settled = by_epoch.get(epoch, 0)
        return found
