"""What a model's context makes of a trace: requests that it refuses, and answers that end where it ends.

A prompt has to leave room for a token of answer. Of an answer that would go on beyond the context, engines make one of
two things: it ends there (llama.cpp, OpenVINO), or the request is refused, for it asked for more than is left (vLLM). A
trace does not say what was asked for, which is taken to be what came.
"""

import dataclasses
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from headrace.specs.catalog import Catalog, ModelSpec
from headrace.specs.engines import ENDS_AT_CONTEXT
from headrace.twin.trace import Trace

Rows = NDArray[np.bool_]
Tokens = NDArray[np.int32]


@dataclasses.dataclass(frozen=True)
class Fits:
    """By request: `none` of the versions takes it; and by version, `refused` and `outputs`, the tokens of each answer.

    A version that refuses none of a trace, or gives each answer as it is in it, is left out.
    """

    none: Rows
    refused: Mapping[str, Rows]
    outputs: Mapping[str, Tokens]
    notes: tuple[str, ...]


def fits(
    trace: Trace, catalog: Catalog, names: Sequence[str], outputs: Mapping[str, Tokens], deployed: Collection[str]
) -> Fits:
    """What becomes of each request. `names` are the catalog's of the trace's models, `outputs` what versions answer
    that were said to answer otherwise than the trace, `deployed` the keys of versions that are asked though they have
    no weight.
    """
    none, refused, answers, notes = np.zeros(len(trace), np.bool_), dict[str, Rows](), dict(outputs), list[str]()
    for name in dict.fromkeys(names):
        rows = np.isin(trace.model, [place for place, known in enumerate(names) if known == name])
        by_all: list[Rows] = []
        for model in catalog.models:
            if model.name != name or not model.owned or not rows.any():
                continue
            asked = answers.get(model.version, trace.output_tokens)
            long, cut = rows & ~taken(trace, model, asked), _cut(trace, model, asked) & rows
            if long.any():
                refused.setdefault(model.version, np.zeros(len(trace), np.bool_))[long] = True
            if cut.any():
                shorter = answers[model.version] = asked.copy()
                shorter[cut] = model.engine.context_tokens - trace.input_tokens[cut]
            if model.weight or model.key in deployed:
                by_all.append(long)
                notes += _notes(model, int(rows.sum()), int(long.sum()), int(cut.sum()))
        if by_all:
            none |= np.logical_and.reduce(by_all)
    return Fits(none, refused, answers, tuple(notes))


def taken(trace: Trace, model: ModelSpec, outputs: Tokens) -> Rows:
    """The requests that a version does not refuse for their length."""
    context = model.engine.context_tokens
    room: Rows = trace.input_tokens < context
    if model.engine.kind not in ENDS_AT_CONTEXT:
        room &= trace.input_tokens.astype(np.int64) + outputs <= context
    return room


def _cut(trace: Trace, model: ModelSpec, outputs: Tokens) -> Rows:
    """The requests whose answer ends where the context ends."""
    long: Rows = trace.input_tokens.astype(np.int64) + outputs > model.engine.context_tokens
    return long & taken(trace, model, outputs)


def _notes(model: ModelSpec, count: int, long: int, cut: int) -> list[str]:
    told, context = [], model.engine.context_tokens
    raise_it = f"raise models.{model.name}.engine.context, or leave them out"
    if long:
        told.append(
            f"{long} of {count} requests of {model.name} have more tokens than its context of {context} and are "
            f"refused, as a cloud does (context_length_exceeded); {raise_it}."
        )
    if cut:
        told.append(
            f"{cut} of {count} answers of {model.name} end where its context of {context} tokens ends, as in a cloud; "
            f"{raise_it}."
        )
    return told
