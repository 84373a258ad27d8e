"""The requests of a trace, by their place in it: what is asked, and how long its prompt and its answer are of whom."""

import msgspec

from headrace.policy import shadowing
from headrace.state.request import BATCH, Request
from headrace.twin.fleet import Running
from headrace.twin.prefixes import Paths
from headrace.twin.scenario import Scenario

_OUTPUT_MAX = 1 << 20


class Requests:
    """As lists, which are read one by one in less time than arrays. `models` are the catalog's names."""

    __slots__ = ("_answers", "_broken", "_outputs", "_paths", "_prefix_tokens", "_prefixes", "_prompt_us", "_refused",
                 "_tenants", "arrived", "inputs", "models", "priorities", "too_long")  # fmt: skip

    def __init__(self, scenario: Scenario) -> None:
        trace = scenario.trace
        self.arrived: list[int] = trace.arrival_us.tolist()
        self.inputs: list[int] = trace.input_tokens.tolist()
        self.models: list[str] = [scenario.names[place] for place in trace.model.tolist()]
        self.priorities: list[int] = trace.priority.tolist()
        self._outputs: list[int] = trace.output_tokens.tolist()
        self._answers: dict[str, list[int]] = {name: tokens.tolist() for name, tokens in scenario.outputs.items()}
        self._broken: dict[str, list[bool]] = {name: rows.tolist() for name, rows in scenario.broken.items()}
        self._refused = {name: rows.tobytes() for name, rows in scenario.fits.refused.items()}
        self.too_long = scenario.fits.none.tobytes()  # 1 where no version takes it
        self._tenants: list[int] = trace.tenant.tolist()
        self._prefixes: list[int] = trace.prefix.tolist()
        self._prefix_tokens: list[int] = trace.prefix_tokens.tolist()
        self._paths = Paths(trace.chains)
        self._prompt_us = {place: prompts.tolist() for place, prompts in scenario.prompt_us.items()}

    def __len__(self) -> int:
        return len(self.arrived)

    def request(self, at: int, now_us: int, patience_us: int) -> Request:
        """As a gateway has it, asked now."""
        prefix = self._paths.root(self._prefixes[at])  # gateways know a prompt by how it begins
        return Request(
            id=str(at),
            tenant=str(self._tenants[at]),
            key="",
            model=self.models[at],
            task="chat",
            input_tokens=self.inputs[at],
            output_tokens_max=_OUTPUT_MAX,
            arrived_us=now_us,
            deadline_us=now_us + patience_us,
            prefix_hash=prefix + 1 if prefix >= 0 else 0,
            priority=self.priorities[at],
        )

    def copied(self, at: int, name: str, version: str, now_us: int, patience_us: int) -> Request:
        """Its copy for a version that is only watched, as a gateway asks it."""
        asked = self.request(at, now_us, patience_us)
        return msgspec.structs.replace(asked, id=name, version=version, tenant=shadowing.TENANT, priority=BATCH)

    def prompt_us(self, at: int, one: Running) -> float:
        """What its prompt takes there, but for what is in the cache; it is there from now on."""
        prompt_us: float = self._prompt_us[one.lease.version, one.lease.pool][at]
        if self._prefixes[at] >= 0:
            cached = one.engine.kept.take(self._paths.of(self._prefixes[at], self._prefix_tokens[at]))
            prompt_us = one.engine.prompt_us(self.inputs[at], cached) if cached else prompt_us
        return prompt_us

    def outputs(self, at: int, version: str) -> int:
        """Tokens of its answer."""
        return self._answers.get(version, self._outputs)[at]

    def refused(self, at: int, version: str) -> bool:
        """Whether that version refuses it for its length."""
        return version in self._refused and bool(self._refused[version][at])

    def broken(self, at: int, version: str) -> bool:
        """Whether that version fails it."""
        return version in self._broken and self._broken[version][at]
