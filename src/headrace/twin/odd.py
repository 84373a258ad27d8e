"""What a person should know of how a trace is taken by a cloud, and of a cloud that could not be started as it is."""

from collections.abc import Collection, Iterable
from typing import Final

import msgspec
import numpy as np

from headrace.policy import fit
from headrace.specs.catalog import Catalog
from headrace.twin.fleet import devices
from headrace.twin.trace import Trace

NO_NAME: Final = "model"  # what `trace_of` calls the model of a trace that names none


def notes(trace: Trace, catalog: Catalog, known: tuple[str, ...], unmapped: Collection[str]) -> list[str]:
    """Sentences. `known` are the catalog's names of the trace's models, `unmapped` the trace's that nobody mapped."""
    told = [
        f"Requests for {name} are taken as {mine}'s, the only model of the cloud."
        for name, mine in zip(trace.models, known, strict=True)
        if name not in (mine, NO_NAME) and name in unmapped
    ]
    told += [f"This cloud cannot be started as it is: {problem}." for problem in problems(catalog, set(known))]
    total = trace.input_tokens + trace.output_tokens.astype(np.int64)
    for model in {model.name: model for model in catalog.models if model.owned}.values():
        rows = np.isin(trace.model, [place for place, name in enumerate(known) if name == model.name])
        if count := int((total[rows] > model.engine.context_tokens).sum()):
            told.append(
                f"{count} of {int(rows.sum())} requests of {model.name} have more tokens than its context of "
                f"{model.engine.context_tokens}: a cloud refuses or cuts them, and here they are served; raise "
                "engine.context, or leave them out."
            )
    return told


def problems(catalog: Catalog, names: Iterable[str]) -> list[str]:
    """What `headrace check` would say where these pools are there: replicas that fit nowhere, promises nobody keeps."""
    models = tuple(model for model in catalog.models if model.name in names)
    return fit.problems(msgspec.structs.replace(catalog, models=models), devices(catalog.pools))
