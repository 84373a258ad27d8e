"""How our own runners are started: what all of them are told, and what one is told beside. See `runners.words`."""

from headrace.settings import interpreter
from headrace.specs.catalog import ModelSpec


def of(runner: str, model: ModelSpec, address: str, **more: object) -> tuple[str, ...]:
    """The argv of the runner of that name, serving a model at a `unix:` address."""
    engine = model.engine
    told = {"listen": address.removeprefix("unix:"), "alias": model.name, "slots": engine.slots,
            "threads": engine.threads} | more  # fmt: skip
    words = (f"--{name.replace('_', '-')}={value}" for name, value in told.items())
    return (*interpreter(), "-m", f"headrace.engines.runners.{runner}", *words)
