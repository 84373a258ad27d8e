"""Reranking in Cohere's form (`/v2/rerank`) and Jina's, which vLLM speaks too (`/v1/rerank`, `/rerank`).

Engines always get and give Jina's form; documents asked back are put in here, never sent around.
"""

import math
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from headrace import errors
from headrace.state.table import Ability
from headrace.wire import answer, sampling
from headrace.wire.call import PREFIX_MAX_BYTES, Call, estimate
from headrace.wire.reading import read, size_of, unsupported
from headrace.wire.usage import Counts

PATH: Final = "/v1/rerank"
DOCUMENTS_MAX: Final = 1000
_DOCUMENTS_PER_SEARCH_UNIT: Final = 100  # Cohere's unit


class Document(msgspec.Struct, forbid_unknown_fields=True):
    """A document as an object."""

    text: str


class RerankRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Everything a client may send, in either form."""

    model: sampling.Model
    query: Annotated[str, Meta(min_length=1)]
    documents: Annotated[list[str | Document], Meta(min_length=1, max_length=DOCUMENTS_MAX)]
    top_n: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    return_documents: bool | None = None
    user: sampling.Label | None = None
    max_tokens_per_doc: Annotated[int, Meta(ge=1)] | None = None
    priority: Annotated[int, Meta(ge=0, le=999)] | None = None


class RerankOut(msgspec.Struct, kw_only=True):
    """What an engine is sent."""

    model: str
    query: str
    documents: list[str]
    top_n: int
    return_documents: bool = False


class Result(msgspec.Struct):
    """One document's place."""

    index: int
    relevance_score: float
    document: Document | UnsetType = UNSET


class _EngineResult(msgspec.Struct):
    index: int
    relevance_score: float


class _Ranking(msgspec.Struct, kw_only=True):
    results: list[_EngineResult]
    usage: Any = None


_DECODER: Final = msgspec.json.Decoder(RerankRequest)
_RANKING: Final = msgspec.json.Decoder(_Ranking)


class RerankCall(Call, kw_only=True):
    """A rerank request that has been read. `cohere` is the form of its answer."""

    request: RerankRequest
    documents: list[str]
    cohere: bool

    def render(
        self,
        ability: Ability,
        upstream_model: str,
        output_default: int,  # noqa: ARG002 - nothing is generated
        context_tokens: int,
    ) -> tuple[str, bytes]:
        """See `Call.render`."""
        self.check_context(context_tokens * (self.items + 1))
        if self.request.max_tokens_per_doc is not None and "max_tokens_per_doc" not in ability.parameters:
            raise unsupported("max_tokens_per_doc")
        # All of them are asked for, so that one that is missing is seen; `finish` cuts.
        out = RerankOut(
            model=upstream_model, query=self.request.query, documents=self.documents, top_n=len(self.documents)
        )
        return PATH, msgspec.json.encode(out)

    def finish(self, body: bytes, request_id: str, counts: Counts | None = None) -> bytes:
        """See `Call.finish`."""
        made = answer.decode(_RANKING, body)
        ranked = sorted(made.results, key=lambda result: (-result.relevance_score, result.index))
        if sorted(result.index for result in ranked) != list(range(self.items)):
            raise errors.Transient("the engine ranked other documents than were sent")
        if not all(math.isfinite(result.relevance_score) for result in ranked):
            raise errors.Transient("the engine gave a score that is no number")
        shown = [Result(result.index, result.relevance_score) for result in ranked[: self.request.top_n]]
        if self.request.return_documents:
            for result in shown:
                result.document = Document(self.documents[result.index])
        if self.cohere:
            units = math.ceil(self.items / _DOCUMENTS_PER_SEARCH_UNIT)
            meta = {"api_version": {"version": "2"}, "billed_units": {"search_units": units}}
            return msgspec.json.encode({"id": request_id, "results": shown, "meta": meta})
        total = counts.input_tokens if counts is not None else _total(made.usage)
        return msgspec.json.encode(
            {"id": request_id, "model": self.model, "usage": {"total_tokens": total}, "results": shown}
        )


def parse(body: bytes) -> Call:
    """A request in Jina's form. Raises Invalid."""
    return _parse(body, cohere=False)


def parse_cohere(body: bytes) -> Call:
    """A request in Cohere's form. Raises Invalid."""
    return _parse(body, cohere=True)


def _parse(body: bytes, *, cohere: bool) -> Call:
    request = read(_DECODER, body, RerankRequest.__struct_fields__)
    documents = [item if isinstance(item, str) else item.text for item in request.documents]
    query = size_of(request.query)
    size = query + sum(size_of(text) for text in documents)
    return RerankCall(
        model=request.model,
        task="rerank",
        endpoint="rerank.cohere" if cohere else "rerank",
        items=len(documents),
        input_bytes=size,
        # A cross-encoder reads the query with each document.
        input_tokens=estimate(size + query * (len(documents) - 1), 0) + 4 * len(documents),
        output_max=0,
        prefix=request.query[:PREFIX_MAX_BYTES].encode()[:PREFIX_MAX_BYTES],
        request=request,
        documents=documents,
        cohere=cohere,
    )


def _total(usage: Any) -> int:
    total = usage.get("total_tokens") if isinstance(usage, dict) else 0
    return total if isinstance(total, int) and 0 <= total < 10**9 else 0
