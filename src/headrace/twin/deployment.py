"""A version that is deployed in a simulated run: when, how, and what it does otherwise than its cloud file says.

Where the file does not have the version, it is the one in force but for that. Written as `headrace model deploy` takes
it: `MODEL@VERSION,NAME=VALUE,...`.
"""

import dataclasses
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from headrace.errors import Invalid
from headrace.policy.performance import Measured, Performance, Scaled
from headrace.specs.catalog import Catalog, ModelSpec
from headrace.specs.problem import closest, shown
from headrace.twin.trace import Trace
from headrace.units import duration_us, format_us

NAMES: Final = ("at", "first", "manual", "shadow", "speed", "errors", "output", "boot")
LIMITS: Final = {
    "speed": (0.01, 100.0), "output": (0.01, 100.0), "errors": (0.0, 100.0), "first": (1.0, 100.0),
    "shadow": (1.0, 100.0),
}  # fmt: skip
_AT_PART: Final = 10  # of the trace passes before, when nothing else is said: what was served then is the measure
_MILLION: Final = 1_000_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Deployment:
    """One. `at_us` of the trace, None for a tenth of it; `first` percent; `manual` takes no step by itself. With
    `shadow`, so many percent of requests are copied to it, for nobody, instead.

    `speed` is how many times as fast its steps are, `errors_ppm` of its requests end with an error of the server after
    their prompt, its answers have `output` times as many tokens, and it starts in `boot_us`, None for as long as
    the one before.
    """

    model: str
    version: str
    at_us: int | None = None
    first: int = 5
    manual: bool = False
    shadow: int = 0
    speed: float = 1.0
    errors_ppm: int = 0
    output: float = 1.0
    boot_us: int | None = None

    @property
    def key(self) -> str:
        """`name@version`."""
        return f"{self.model}@{self.version}"


def parse(text: str) -> Deployment:
    """What was typed. Raises Invalid with the value, the limit and the fix.

    >>> parse("chat@v2,at=10m,speed=0.8,errors=1%").errors_ppm
    10000
    """
    key, *parts = (part.strip() for part in text.split(","))
    model, at, version = key.partition("@")
    if not (model and at and version) or "@" in version or "=" in key:
        raise Invalid(f"{shown(key)} names no version; write a rollout like chat@v2,at=10m,speed=0.8,errors=1%")
    given: dict[str, str] = {}
    for part in parts:
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if name not in NAMES or not (equals or name == "manual"):
            hint = closest(name, NAMES)
            raise Invalid(f"{shown(part)} is no setting of a rollout{hint}; there are {', '.join(NAMES)}")
        if name in given:
            raise Invalid(f"{name} is given twice for {key}; give it once")
        given[name] = value
    return _made(model, version, given)


def _made(model: str, version: str, given: Mapping[str, str]) -> Deployment:
    fields: dict[str, Any] = {}
    for name, text in given.items():
        if name in ("at", "boot"):
            fields[f"{name}_us"] = _duration(name, text)
        elif name == "manual":
            if text not in ("", "yes", "no"):
                raise Invalid(f"manual is {shown(text)}; write manual, or leave it out")
            fields["manual"] = text != "no"
        elif name == "errors":
            fields["errors_ppm"] = round(_number(name, text.removesuffix("%"), text, percent=True) * 10_000)
        elif name in ("first", "shadow"):
            fields[name] = int(_number(name, text.removesuffix("%"), text))
        else:
            fields[name] = _number(name, text, text)
    if fields.get("shadow") and (others := [name for name in ("first", "manual") if name in given]):
        what = f"{others[0]} is for a version that gets traffic, and a shadow gets copies"
        raise Invalid(f"{what}; leave out {others[0]}, or shadow")
    return Deployment(model=model, version=version, **fields)


def _duration(name: str, text: str) -> int:
    try:
        return duration_us(text)
    except ValueError as error:
        raise Invalid(f"{name}: {error}") from None


def _number(name: str, digits: str, text: str, *, percent: bool = False) -> float:
    (low, high), whole = LIMITS[name], name in ("first", "shadow")
    try:
        value = float(digits)
    except ValueError:
        value = float("nan")
    if not low <= value <= high or (percent and not text.endswith("%")) or (whole and value != int(value)):
        form = f"a percentage from {low:g}% to {high:g}%, like 1%" if percent else f"a number from {low:g} to {high:g}"
        raise Invalid(f"{name} is {shown(text)}; give {form}")
    return value


class News:
    """What the deployments of a run make of its givens. `catalog` has every version that is deployed.

    By version name: `outputs` of each request of the trace when that version answers, `broken` those it fails.
    """

    def __init__(
        self, catalog: Catalog, deployments: Sequence[Deployment], trace: Trace, names: Sequence[str], seed: int
    ) -> None:
        self.catalog = catalog
        self.notes: tuple[str, ...] = ()
        self.deployments: dict[str, Deployment] = {}
        self.outputs: dict[str, NDArray[np.int32]] = {}
        self.broken: dict[str, NDArray[np.bool_]] = {}
        self._stable: dict[str, ModelSpec] = {}  # against whom, by the key of the new one
        self._trace = trace
        used = {names[place] for place in set(trace.model.tolist())}
        for one in deployments:
            self._place(one, used)
            rows = np.isin(trace.model, [place for place, name in enumerate(names) if name == one.model])
            self._answers(one, rows, seed)

    def _place(self, one: Deployment, used: set[str]) -> None:
        """Checked, and in the catalog."""
        catalog, span_us = self.catalog, self._trace.span_us
        versions = [model for model in catalog.models if model.name == one.model]
        if not versions:
            hint = closest(one.model, catalog.names()) or f"; there are {', '.join(catalog.names())}"
            raise Invalid(f"rollout of {one.key}: the cloud has no model {shown(one.model)}{hint}")
        if one.model not in used:
            asked = ", ".join(sorted(used))
            raise Invalid(f"rollout of {one.key}: the trace asks for no {one.model}; it asks for {asked}")
        if any(other.model == one.model for other in self.deployments.values()):
            raise Invalid(f"{one.model} is rolled out twice in one run; give one rollout a model, and --vs for another")
        others = [model for model in versions if model.version != one.version and model.weight > 0]
        if not others:
            known = ", ".join(model.version for model in versions)
            raise Invalid(f"{one.key} has all the traffic of {one.model} already; deploy another version than {known}")
        at_us = span_us // _AT_PART if one.at_us is None else one.at_us
        if at_us >= span_us:
            raise Invalid(
                f"rollout of {one.key}: at is {format_us(at_us)}, and the trace is over after {format_us(span_us)}; "
                "deploy before that"
            )
        stable = max(others, key=lambda model: (model.weight, model.version))
        spec = next((model for model in versions if model.version == one.version), None)
        if spec is None:
            spec = msgspec.structs.replace(stable, version=one.version, weight=0)
            models = tuple(sorted((*catalog.models, spec), key=lambda model: model.key))
            self.catalog = msgspec.structs.replace(catalog, models=models)
            said = "but for what is said of it"
            self.notes += (f"{one.key} is not in the cloud file: it is taken to be like {stable.key}, {said}",)
        if not (spec.owned and stable.owned):
            raise Invalid(f"rollout of {one.key}: it is served elsewhere; the twin runs what the cloud itself starts")
        self._stable[one.key] = stable
        self.deployments[one.key] = dataclasses.replace(one, at_us=at_us)

    def _answers(self, one: Deployment, rows: NDArray[np.bool_], seed: int) -> None:
        """How long its answers are, and which fail: by the request and the seed, whoever else is asked."""
        chance = np.random.default_rng([seed, zlib.crc32(one.key.encode())]).random(len(self._trace))
        broken = chance * _MILLION < one.errors_ppm
        outputs = np.where(broken, np.minimum(1, self._trace.output_tokens), _longer(self._trace.output_tokens, one))
        mine = self.outputs.setdefault(one.version, self._trace.output_tokens.copy())
        mine[rows] = outputs[rows]
        self.broken.setdefault(one.version, np.zeros(len(self._trace), np.bool_))[rows] = broken[rows]

    def measured(self, known: Mapping[tuple[str, str], Measured]) -> dict[tuple[str, str], Measured]:
        """With new versions, of which nothing was, as those they replace; but where their shapes tell them apart."""
        found = dict(known)
        for key, stable in self._stable.items():
            model = self.catalog.model(key)
            assert model is not None, "it was placed"
            for pool in model.pools:
                if (stable.key, pool) in known and model.shape == stable.shape:
                    found.setdefault((key, pool), known[stable.key, pool])
        return found

    def boot_us(self, key: str, known: Mapping[str, int], usual_us: int) -> int:
        """How long a start takes: as said, as measured, as of the version before, or as usual."""
        one = self.deployments.get(key)
        if one is None:
            return known.get(key, usual_us)
        as_before_us = known.get(self._stable[key].key, usual_us)
        return one.boot_us if one.boot_us is not None else known.get(key, as_before_us)

    def paced(self, key: str, performance: Performance) -> Performance:
        """As fast as was said."""
        one = self.deployments.get(key)
        if one is None or one.speed == 1:
            return performance
        return Scaled(performance, 1 / one.speed, performance.kv_tokens)

    def lengths(self, key: str) -> NDArray[np.int32]:
        """Tokens of the answers that do not fail."""
        one = self.deployments.get(key)
        return self._trace.output_tokens if one is None else _longer(self._trace.output_tokens, one)


def _longer(tokens: NDArray[np.int32], one: Deployment) -> NDArray[np.int32]:
    """An answer keeps a token where it had one."""
    longer: NDArray[np.int32] = np.maximum(np.minimum(1, tokens), np.rint(tokens * one.output)).astype(np.int32)
    return longer
