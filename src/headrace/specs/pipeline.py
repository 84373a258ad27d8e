"""What a pipeline in YAML is: steps, their bounds, and what to do instead when money runs short. Pure.

Every loop has a bound, every step a time limit, every run a cap; a file that breaks a rule is refused with the step,
the reason and the fix. Templates are checked where they are read, in `pipelines/templates.py`.
"""

import functools
import re
from typing import Annotated, Any, Final

import msgspec

from headrace.errors import Invalid
from headrace.specs import tree
from headrace.specs.agent import TOOLS_MAX, ToolSpec, check
from headrace.units import duration_us, nanousd

NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")
RESERVED: Final = frozenset({"item", "index", "round", "last", "range", "best", "worst", "results"})
EACH_MAX: Final = 1_000
READ_MAX: Final = 64  # texts that are kept read, which takes ten milliseconds
KINDS: Final = {
    "chat": ("prompt",),
    "agent": ("prompt",),
    "embed": ("texts",),
    "rerank": ("query", "documents"),
    "image": ("prompt",),
    "edit": ("images", "prompt"),
    "upscale": ("images",),
    "transcribe": ("audio",),
    "speak": ("text",),
    "value": (),
}  # what a step may be, and which fields it needs then
OF: Final = {
    "images": {"chat", "agent", "edit", "upscale"},
    "audio": {"transcribe"},
    "voice": {"speak"},
    "language": {"transcribe"},
    "size": {"image", "edit"},
    "n": {"chat", "image", "edit"},
    "scale": {"upscale"},
}  # fields that only some kinds have
Bound = Annotated[int, msgspec.Meta(ge=1, le=100)]


class Loop(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Again `until` the template is true, `at_most` so often."""

    until: str
    at_most: Bound


class Instead(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What to do when the step's worst case does not fit: another model, fewer tokens, or an early stop."""

    model: str | None = None
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    variants: Annotated[int, msgspec.Meta(ge=1)] | None = None
    stop: bool = False


class Best(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which of several results is the step's: what a reranker puts first for `query`, or what a judge scores highest.

    A judge is asked `prompt`, a template that has each `result`, and answers with a score from 0 to 100.
    """

    rerank: str | None = None
    query: str = ""
    chat: str | None = None
    prompt: str = ""


class Step(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One step: exactly one of KINDS, which names a model, or is a template (value)."""

    chat: str | None = None
    agent: str | None = None
    embed: str | None = None
    rerank: str | None = None
    image: str | None = None
    edit: str | None = None
    upscale: str | None = None
    transcribe: str | None = None
    speak: str | None = None
    value: Any = None
    prompt: str = ""
    system: str = ""
    texts: Any = None
    query: str = ""
    documents: Any = None
    images: Any = None
    audio: Any = None
    text: str = ""
    voice: str | None = None
    language: str | None = None
    size: str | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=64)] | None = None
    scale: Annotated[int, msgspec.Meta(ge=1, le=16)] | None = None
    top: Annotated[int, msgspec.Meta(ge=1)] | None = None
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] = 256
    temperature: float | None = None
    seed: int | str | None = None
    schema: dict[str, Any] | None = None
    tools: dict[str, ToolSpec] = {}
    first: tuple[str, ...] = ()
    max_steps: Bound = 8
    cost: str | float | None = None
    time: str | None = None
    when: str = ""
    each: Any = None
    enough: str = ""
    best: Best | None = None
    cache: str | None = None
    loop: Loop | None = None
    retries: Annotated[int, msgspec.Meta(ge=0, le=10)] = 2
    timeout: str = "60s"
    or_else: tuple[Instead, ...] = ()

    @property
    def kind(self) -> str:
        """Which of them it is."""
        return next((kind for kind in KINDS if getattr(self, kind) is not None), "value")

    @property
    def model(self) -> str:
        """The model it asks, empty for a value."""
        return "" if self.kind == "value" else str(getattr(self, self.kind))

    @property
    def timeout_us(self) -> int:
        """The most one call of it may take."""
        return duration_us(self.timeout)

    @property
    def cache_us(self) -> int:
        """How long its result may be used by other runs, 0: not at all."""
        return duration_us(self.cache) if self.cache is not None else 0

    @property
    def models(self) -> tuple[str, ...]:
        """Every model that it may ask."""
        judge = (self.best.rerank or self.best.chat or "") if self.best is not None else ""
        return tuple(filter(None, (self.model, *(other.model for other in self.or_else), judge)))

    @property
    def cost_nanousd(self) -> int | None:
        """The most an agent may spend; None: as much as the run."""
        return None if self.cost is None else nanousd(self.cost)

    @property
    def time_us(self) -> int | None:
        """How long an agent may take; None: as long as the run."""
        return None if self.time is None else duration_us(self.time)


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The caps of a run: dollars, time, and calls at once."""

    cost: str | float = "0.10"
    time: str = "5m"
    width: Annotated[int, msgspec.Meta(ge=1, le=256)] = 4

    @property
    def cost_nanousd(self) -> int:
        """The cap."""
        return nanousd(self.cost)

    @property
    def time_us(self) -> int:
        """From start to deadline."""
        return duration_us(self.time)


class Pipeline(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A pipeline. `input` is name to default; a default of null must be given."""

    name: str
    steps: dict[str, Step]
    output: Any
    input: dict[str, Any] = {}
    limits: Limits = Limits()


@functools.lru_cache(READ_MAX)
def read(text: str, filename: str = "pipeline.yaml") -> Pipeline:
    """A pipeline of its YAML text, to be left as it is. Raises Invalid naming the step, the reason and the fix."""
    plain = tree.read(text, filename).plain
    try:
        found = msgspec.convert(plain, Pipeline, strict=True)
    except msgspec.ValidationError as error:
        raise _wrong(f"{filename}: {error}") from None
    for name in (found.name, *found.steps, *found.input):
        if not NAME.fullmatch(name) or name in RESERVED:
            raise _wrong(f"{name[:60]!r} cannot be a name; use a-z, 0-9 and _, and none of {', '.join(RESERVED)}")
    if not found.steps:
        raise _wrong(f"{found.name}: there is no step; give one under `steps`")
    if shared := sorted(set(found.input) & set(found.steps)):
        raise _wrong(f"{found.name}: {shared[0]} is both an input and a step; rename one")
    _limits(found)
    for name, step in found.steps.items():
        _check(name, step)
    return found


def _limits(found: Pipeline) -> None:
    try:
        if found.limits.cost_nanousd <= 0 or found.limits.time_us <= 0:
            raise ValueError("cost and time must be above 0")
    except ValueError as error:
        raise _wrong(f"{found.name}: limits: {error}") from None


def _check(name: str, step: Step) -> None:
    kinds = [kind for kind in KINDS if getattr(step, kind) is not None]
    if len(kinds) != 1:
        said = " and ".join(kinds) or "nothing"
        raise _wrong(f"step {name}: it is {said}; give exactly one of {', '.join(KINDS)}")
    for field in KINDS[kinds[0]]:
        if not getattr(step, field):
            raise _wrong(f"step {name}: {kinds[0]} needs `{field}`; give it")
    _check_several(name, step)
    for field in ("timeout", "cache"):
        given = getattr(step, field)
        try:
            if given is not None and duration_us(given) <= 0:
                raise ValueError("it must be above 0")
        except ValueError as error:
            raise _wrong(f"step {name}: {field}: {error}") from None
    for field, kinds_of in OF.items():
        if getattr(step, field) is not None and step.kind not in kinds_of:
            raise _wrong(f"step {name}: `{field}` belongs to {' and '.join(sorted(kinds_of))}, this is {step.kind}")
    _check_agent(name, step)


def _check_several(name: str, step: Step) -> None:
    ways = [word for word in ("each", "n", "loop") if getattr(step, word) is not None]
    if len(ways) > 1:
        raise _wrong(f"step {name}: `{ways[0]}` or `{ways[1]}`, not both; make two steps of it")
    if (step.enough or step.best) and not {"each", "n"} & set(ways):
        raise _wrong(f"step {name}: `enough` and `best` choose among variants; give `each` or `n` too")
    if step.best is not None:
        if step.enough:
            raise _wrong(f"step {name}: `enough` takes the first, `best` waits for all; give one of them")
        ranks, judges = (step.best.rerank and step.best.query), (step.best.chat and step.best.prompt)
        if bool(ranks) == bool(judges):
            raise _wrong(f"step {name}: `best` is rerank and query, or chat and prompt; give one of the two pairs")
    if step.cache is not None and step.kind in ("agent", "value"):
        raise _wrong(f"step {name}: {step.kind} is not cached; leave out `cache`")


def _check_agent(name: str, step: Step) -> None:
    own = [field for field in ("tools", "first", "cost", "time") if getattr(step, field)]
    if step.agent is None:
        if own:
            raise _wrong(f"step {name}: `{own[0]}` belongs to an agent; write `agent: MODEL`, or leave it out")
        return
    try:
        if (step.cost_nanousd or 1) <= 0 or (step.time_us or 1) <= 0:
            raise ValueError("cost and time must be above 0")
    except ValueError as error:
        raise _wrong(f"step {name}: cost or time: {error}") from None
    try:
        if len(step.tools) > TOOLS_MAX:
            raise ValueError(f"{len(step.tools)} tools; {TOOLS_MAX} is the most")
        for word, tool in step.tools.items():
            check(word, tool)
        if unknown := [word for word in step.first if word not in step.tools]:
            raise ValueError(f"`first` names {unknown[0]!r}, which is none of its tools")
        if len(step.first) >= step.max_steps:
            raise ValueError("`first` leaves no step for the answer; raise max_steps")
    except ValueError as error:
        raise _wrong(f"step {name}: {error}") from None


def _wrong(message: str) -> Invalid:
    return Invalid(message, code="invalid_pipeline", status=422)
