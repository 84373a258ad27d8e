"""What a person should know of how a trace is taken by a cloud, and of a cloud that could not be started as it is."""

from collections.abc import Collection, Iterable
from typing import Final

import msgspec

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
    return told


def problems(catalog: Catalog, names: Iterable[str]) -> list[str]:
    """What `headrace check` would say where these pools are there: replicas that fit nowhere, promises nobody keeps."""
    models = tuple(model for model in catalog.models if model.name in names)
    return fit.problems(msgspec.structs.replace(catalog, models=models), devices(catalog.pools))
