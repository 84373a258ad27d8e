"""Models that would be bought of a closed API instead of run: what their part of a trace would cost there.

How long that API takes is not known here, so no latency is told.
"""

from collections.abc import Mapping
from typing import Final

import msgspec
import numpy as np

from headrace.economics.prices import charge_nanousd
from headrace.errors import Invalid
from headrace.specs.priced import Unit
from headrace.state.table import Price
from headrace.twin.outcome import Outcome
from headrace.twin.trace import Trace

PREFIX: Final = "api."


class Bought(msgspec.Struct, frozen=True, kw_only=True):
    """One model's requests at an API. `api` is PROVIDER/MODEL."""

    name: str
    api: str
    requests: int
    input_tokens: int
    output_tokens: int
    cost_nanousd: int


def chosen(changes: tuple[str, ...]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Models to buy, by name, and the changes that are others'. Raises Invalid.

    >>> chosen(("api.chat=openai/gpt-4o-mini", "pools.gpus.count=3"))
    ({'chat': 'openai/gpt-4o-mini'}, ('pools.gpus.count=3',))
    """
    found, rest = {}, []
    for change in changes:
        model, equals, api = change.removeprefix(PREFIX).partition("=")
        if not change.startswith(PREFIX):
            rest.append(change)
        elif not equals or "/" not in api:
            raise Invalid(f"{change!r} names no API; write it like api.chat=openai/gpt-4o-mini")
        else:
            found[model.strip()] = api.strip()
    return found, tuple(rest)


def part(trace: Trace, names: tuple[str, ...], wanted: Mapping[str, str]) -> tuple[Trace, Trace]:
    """What is left to run, and what is bought. `names` are the catalog's, by the trace's place. Raises Invalid."""
    for model in wanted:
        if model not in names:
            raise Invalid(f"api.{model}: the trace asks for no model {model!r}; it asks for {', '.join(names)}")
    mask = np.isin(trace.model, [place for place, name in enumerate(names) if name in wanted])
    return trace.select(~mask), trace.select(mask)


def bill(
    trace: Trace, names: tuple[str, ...], api: Mapping[str, str], units: Mapping[str, dict[str, int]]
) -> list[Bought]:
    """What each model's requests would have been charged. `units` are pico-dollars a unit, by PROVIDER/MODEL."""
    found = []
    for model, provider in api.items():
        rows = np.isin(trace.model, [place for place, name in enumerate(names) if name == model])
        used: dict[Unit, int] = {
            "input_tokens": int(trace.input_tokens[rows].sum()),
            "output_tokens": int(trace.output_tokens[rows].sum()),
        }
        price = Price(id=provider, model=model, units=units[provider])
        found.append(
            Bought(
                name=model,
                api=provider,
                requests=int(rows.sum()),
                input_tokens=used["input_tokens"],
                output_tokens=used["output_tokens"],
                cost_nanousd=charge_nanousd(price, used),
            )
        )
    return found


def beside(outcome: Outcome, bought: list[Bought]) -> Outcome:
    """An outcome of what is run, with what is bought beside it."""
    if not bought:
        return outcome
    return msgspec.structs.replace(
        outcome,
        requests=outcome.requests + sum(one.requests for one in bought),
        cost_nanousd=outcome.cost_nanousd + sum(one.cost_nanousd for one in bought),
        bought=tuple(msgspec.to_builtins(one) for one in bought),
    )
