"""A replica for embeddings or reranking: an ONNX text encoder behind OpenAI's and Jina's request forms.

Started by `engines.onnx.command`. A text longer than the limit is refused with the count, never silently cut.
"""

import argparse
import asyncio
import base64
import time
from collections.abc import Sequence
from typing import Annotated, Any, Final

import msgspec
import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from headrace.engines.runners import words
from headrace.engines.runners.batching import Batch, Batcher, Bounds, Item, padded
from headrace.engines.runners.server import Exchange, Server, serve
from headrace.errors import Invalid

_INPUTS_MAX: Final = 2048  # OpenAI's limit
_BOUNDS: Final = Bounds(count=32, cost=4096)  # texts, and tokens with padding
Text = tuple[Sequence[int], Sequence[int]]  # token ids and segment ids of equal length
FIRST: Final[Batch[Text]] = Batch([Item(([0, 1], [0, 0]))])  # the first run allocates
Token = Annotated[int, msgspec.Meta(ge=0)]


class EmbeddingsRequest(msgspec.Struct, forbid_unknown_fields=True):
    """POST /v1/embeddings. `input` is a text, token ids, or a list of either."""

    input: str | list[str | Token | list[Token]]
    model: str = ""
    encoding_format: str = "float"
    dimensions: int | None = None
    user: str | None = None


class Document(msgspec.Struct):
    """A document given as an object."""

    text: str


class RerankRequest(msgspec.Struct, forbid_unknown_fields=True):
    """POST /v1/rerank, the form of Jina."""

    query: str
    documents: list[str | Document]
    model: str = ""
    top_n: int | None = None
    return_documents: bool = False


class Encoder:
    """The session and the tokenizer. `pairs` is true for a cross-encoder: one logit for a query and a document."""

    def __init__(self, weights: str, tokenizer: str, threads: int, limit: int) -> None:
        self._weights, self._threads = weights, threads
        self.session = self._load()
        self.names = {entry.name for entry in self.session.get_inputs()}
        self.pairs = _single_logit(self.session.get_outputs()[0])
        self.limit = limit
        self.tokenizer = Tokenizer.from_file(tokenizer)
        self.tokenizer.no_truncation()  # the file's own limit would cut texts silently
        self.tokenizer.no_padding()
        self.vocabulary: int = self.tokenizer.get_vocab_size()
        self.compute(FIRST)

    def sleep(self) -> None:
        """Let go of the session, which holds the weights and what batches took; the tokenizer stays."""
        self.session = None

    def wake(self) -> None:
        """Load it again."""
        self.session = self._load()
        self.compute(FIRST)

    def _load(self) -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Spinning threads take the CPU from their neighbours and gain nothing at these batch sizes.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return onnxruntime.InferenceSession(self._weights, options, providers=["CPUExecutionProvider"])

    def compute(self, batch: Batch[Text]) -> list[Any]:
        """Per text: one logit, or token vectors float32 [tokens, hidden]. Runs in the encoder's thread."""
        texts = batch.works
        ids = np.zeros((len(texts), max(len(text) for text, _ in texts)), np.int64)
        mask, segments = np.zeros_like(ids), np.zeros_like(ids)
        for row, (text, parts) in enumerate(texts):
            ids[row, : len(text)] = text
            segments[row, : len(text)] = parts
            mask[row, : len(text)] = 1
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": segments}
        output = self.session.run(None, {name: value for name, value in feed.items() if name in self.names})[0]
        if self.pairs:
            return [float(row.reshape(-1)[0]) for row in output]
        return [output[row, : len(text)] for row, (text, _) in enumerate(texts)]

    def encode(self, text: str, pair: str | None, param: str) -> Text:
        """(ids, segments) of a text or a pair. Raises Invalid when it is too long."""
        encoded = self.tokenizer.encode(text) if pair is None else self.tokenizer.encode(text, pair)
        self.fits(len(encoded.ids), param)
        return encoded.ids, encoded.type_ids

    def given(self, tokens: list[int], param: str) -> Text:
        """(ids, segments) of token ids as they came."""
        if not tokens:
            raise Invalid(f"{param} holds an empty list of tokens; give at least one", param=param)
        if max(tokens) >= self.vocabulary:
            raise Invalid(f"{param} holds token {max(tokens)}; ids end at {self.vocabulary - 1}", param=param)
        self.fits(len(tokens), param)
        return tokens, [0] * len(tokens)

    def fits(self, count: int, param: str) -> None:
        """Raise Invalid for more tokens than the limit."""
        if count > self.limit:
            raise Invalid(
                f"{param} has {count} tokens; this model takes at most {self.limit}. Split the text",
                param=param,
                code="context_length_exceeded",
            )


class Runner:
    """The routes of one replica."""

    def __init__(self, encoder: Encoder, alias: str) -> None:
        self.encoder, self.alias = encoder, alias
        self.batcher = Batcher(encoder.compute, _BOUNDS, padded)

    async def embeddings(self, exchange: Exchange) -> None:
        """POST /v1/embeddings: mean of the token vectors, length one."""
        request = decode(exchange.body, EmbeddingsRequest)
        if request.encoding_format not in ("float", "base64"):
            raise Invalid("encoding_format must be float or base64", param="encoding_format")
        encoded = self._inputs(request.input)
        vectors = [pooled(found) for found in await self._encode(encoded)]
        if request.dimensions not in (None, len(vectors[0])):
            raise Invalid(f"dimensions must be {len(vectors[0])} for this model, or left out", param="dimensions")
        whole = request.encoding_format == "float"
        data = [
            {
                "object": "embedding",
                "index": index,
                "embedding": vector.tolist() if whole else base64.b64encode(vector.tobytes()).decode(),
            }
            for index, vector in enumerate(vectors)
        ]
        tokens = sum(len(ids) for ids, _ in encoded)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        answer = {"object": "list", "data": data, "model": self.alias, "usage": usage}
        exchange.json(msgspec.json.encode(answer))

    async def rerank(self, exchange: Exchange) -> None:
        """POST /v1/rerank: cross-encoder, or late interaction over token vectors."""
        request = decode(exchange.body, RerankRequest)
        texts = [entry if isinstance(entry, str) else entry.text for entry in request.documents]
        if not texts or len(texts) > _INPUTS_MAX:
            raise Invalid(f"documents must hold 1 to {_INPUTS_MAX} texts, not {len(texts)}", param="documents")
        if request.top_n is not None and request.top_n < 1:
            raise Invalid("top_n must be at least 1", param="top_n")
        if self.encoder.pairs:
            encoded = [self.encoder.encode(request.query, text, "documents") for text in texts]
            scores = [sigmoid(logit) for logit in await self._encode(encoded)]
        else:
            encoded = [self.encoder.encode(request.query, None, "query")]
            encoded += [self.encoder.encode(text, None, "documents") for text in texts]
            asked, *found = await self._encode(encoded)
            scores = [late_interaction(asked, vectors) for vectors in found]
        order = sorted(range(len(texts)), key=lambda index: (-scores[index], index))[: request.top_n]
        results: list[dict[str, Any]] = [{"index": index, "relevance_score": scores[index]} for index in order]
        if request.return_documents:
            for row in results:
                row["document"] = {"text": texts[row["index"]]}
        tokens = sum(len(ids) for ids, _ in encoded)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        exchange.json(msgspec.json.encode({"model": self.alias, "results": results, "usage": usage}))

    async def tokenize(self, exchange: Exchange) -> None:
        """POST /tokenize: how many tokens the same body would be counted as, by its texts alone."""
        if self.encoder.pairs or b'"documents"' in exchange.body:
            ranking = decode(exchange.body, RerankRequest)
            texts = [entry if isinstance(entry, str) else entry.text for entry in ranking.documents]
            if self.encoder.pairs:
                encoded = [self.encoder.encode(ranking.query, text, "documents") for text in texts]
            else:
                encoded = [self.encoder.encode(text, None, "documents") for text in (ranking.query, *texts)]
        else:
            encoded = self._inputs(decode(exchange.body, EmbeddingsRequest).input)
        exchange.json({"count": sum(len(ids) for ids, _ in encoded)})

    async def _encode(self, texts: list[Text]) -> list[Any]:
        return await self.batcher.run([Item(text, cost=len(text[0])) for text in texts])

    def _inputs(self, given: str | list[Any]) -> list[Text]:
        if isinstance(given, str) or (given and all(isinstance(entry, int) for entry in given)):
            given = [given]
        if not given or len(given) > _INPUTS_MAX:
            raise Invalid(f"input must hold 1 to {_INPUTS_MAX} texts, not {len(given)}", param="input")
        if any(isinstance(entry, int) for entry in given):
            raise Invalid("input mixes token ids and texts; give lists of one kind", param="input")
        return [
            self.encoder.encode(entry, None, "input") if isinstance(entry, str) else self.encoder.given(entry, "input")
            for entry in given
        ]


def decode(body: bytes, kind: Any) -> Any:
    """A request of that struct. Raises Invalid that names the field."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.MsgspecError as error:
        raise Invalid(str(error)) from error


def pooled(vectors: Any) -> Any:
    """Mean of token vectors, scaled to length one; float32 [hidden]."""
    mean = vectors.mean(axis=0)
    return (mean / max(float(np.linalg.norm(mean)), 1e-12)).astype(np.float32)


def late_interaction(query: Any, document: Any) -> float:
    """Mean over the query's tokens of the best cosine with any token of the document, in [-1, 1].

    Source: ColBERT's MaxSim. The tokens that open and close a text are left out of the query, the first also of the
    document, since they are alike in all texts.
    """
    asked = query[1:-1] if len(query) > 2 else query
    found = document[1:] if len(document) > 1 else document
    asked = asked / np.linalg.norm(asked, axis=-1, keepdims=True)
    found = found / np.linalg.norm(found, axis=-1, keepdims=True)
    return float((asked @ found.T).max(axis=-1).mean())


def sigmoid(logit: float) -> float:
    """A logit as a score in [0, 1]."""
    return float(1 / (1 + np.exp(-np.float64(logit))))


def _single_logit(output: Any) -> bool:
    return len(output.shape) < 3 and output.shape[-1] == 1


def main() -> None:
    """Serve until SIGTERM."""
    began = time.monotonic()
    given = words.told("weights", "tokenizer", "task", numbers=("context",))
    encoder = Encoder(given.weights, given.tokenizer, given.threads, given.context)
    asyncio.run(_serve(encoder, given, began))


async def _serve(encoder: Encoder, given: argparse.Namespace, began: float) -> None:
    runner = Runner(encoder, given.alias)

    routes = {("POST", "/v1/rerank"): runner.rerank, ("POST", "/tokenize"): runner.tokenize}
    if not encoder.pairs:
        routes["POST", "/v1/embeddings"] = runner.embeddings
    await serve(Server(routes, lambda: runner.batcher.load(given.slots)), given.listen, began, encoder)


if __name__ == "__main__":
    main()
