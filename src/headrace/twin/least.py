"""What runs cost over the least they could have, model by model: each question is worked out once for all runs."""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from headrace.errors import Invalid
from headrace.planner.optimum import Pool
from headrace.planner.rolling import Least, least
from headrace.specs.catalog import ModelSpec
from headrace.twin.against import Against
from headrace.twin.outcome import ModelPart, Outcome
from headrace.twin.plans import pools_of, share_of, work_of
from headrace.twin.scenario import Scenario

MISSED_PPM: Final = 10_000
_MILLION: Final = 1_000_000
Key = tuple[str, tuple[Pool, ...], int, float, int]


class Leasts:
    """The least of each model of some scenarios, of which those with the same pools and requests are asked once."""

    def __init__(self, scenarios: Iterable[Scenario]) -> None:
        self._work: dict[Key, NDArray[np.float64]] = {}
        self._known: dict[tuple[Key, bool], Least | str] = {}
        for scenario in scenarios:
            for model in scenario.catalog.models:
                if (key := _key(scenario, model)) not in self._work:
                    self._work[key] = work_of(scenario, model)

    @property
    def size(self) -> int:
        """Slots to look at, once for each pool that a model may use: what it takes goes with that."""
        return sum(len(work) * len(pools) for (_, pools, _, _, _), work in self._work.items())

    def beside(self, scenario: Scenario, outcome: Outcome) -> Outcome:
        """An outcome of that scenario, with cost over the least for it and for each model."""
        specs = {model.key: model for model in scenario.catalog.models}
        models = tuple(self._judged(part, _key(scenario, specs[part.name])) for part in outcome.models)
        return msgspec.structs.replace(outcome, models=models, optimum=_of_all(models)) if models else outcome

    def _judged(self, part: ModelPart, key: Key) -> ModelPart:
        found = self._least(key, None)
        if isinstance(found, Least) and found.nanousd > part.cost_nanousd:
            found = self._least(key, part.cost_nanousd)
        if isinstance(found, str):
            return msgspec.structs.replace(part, optimum=_against(part.cost_nanousd, None, (), found))
        whole = (part.name,) if found.whole else ()
        return msgspec.structs.replace(part, optimum=_against(part.cost_nanousd, found.nanousd, whole))

    def _least(self, key: Key, paid_nanousd: int | None) -> Least | str:
        place = key, paid_nanousd is not None
        if place not in self._known:
            try:
                self._known[place] = least(
                    self._work[key], key[1], missed=MISSED_PPM / _MILLION, paid_nanousd=paid_nanousd
                )
            except Invalid as error:
                self._known[place] = error.message
        return self._known[place]


def _key(scenario: Scenario, model: ModelSpec) -> Key:
    """The runs of one command have one trace, but for models that are bought elsewhere, and weights and contexts of
    their own.
    """
    pools, context = tuple(pools_of(scenario, model)), model.engine.context_tokens
    return model.key, pools, len(scenario.trace), share_of(scenario, model), context


def _against(cost: int, nanousd: int | None, whole: tuple[str, ...], why: str = "") -> Against:
    ratio = cost * _MILLION // nanousd if nanousd else None
    return Against(least_nanousd=nanousd, ratio_ppm=ratio, whole=whole, missed_ppm=MISSED_PPM, why=why)


def _of_all(models: Sequence[ModelPart]) -> Against:
    """Of the fleet that is run: what was bought beside it has no least."""
    parts = [model.optimum for model in models if model.optimum is not None]
    cost = sum(model.cost_nanousd for model in models)
    for model, part in zip(models, parts, strict=True):
        if part.least_nanousd is None:
            return _against(cost, None, (), f"{model.name}: {part.why}")
    return _against(
        cost, sum(part.least_nanousd or 0 for part in parts), tuple(name for part in parts for name in part.whole)
    )
