"""Encoders: our graph says what the model says, a given cross-encoder works, and bad files are refused."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from headrace.engines import golden, onnx_convert
from headrace.engines.onnx import Onnx
from headrace.errors import Permanent
from headrace.specs.catalog import EngineSpec
from tests.conftest import MODELS, NEAR, make
from tests.conftest import model as model_of


@contextmanager
def client_of(address: str) -> Iterator[httpx.Client]:
    transport = httpx.HTTPTransport(uds=address.removeprefix("unix:"))
    with httpx.Client(transport=transport, base_url="http://engine", timeout=60) as client:
        yield client


def vectors(client: httpx.Client, texts: Any, **more: Any) -> Any:
    data = client.post("/v1/embeddings", json={"input": texts, **more}).json()["data"]
    return [entry["embedding"] for entry in data]


@pytest.fixture(scope="module")
def embedder() -> Iterator[httpx.Client]:
    model, artifact = make("minilm")
    with golden.running(Onnx(), model, artifact) as (address, _), client_of(address) as client:
        yield client


def test_vectors_are_those_of_the_model(embedder: httpx.Client) -> None:
    """Cosines of all-MiniLM-L6-v2 in its own framework: cat and kitten 0.67, cat and stocks 0.06."""
    cat, kitten, stocks = np.array(vectors(embedder, [NEAR.prompt, NEAR.closer, NEAR.farther]))
    assert pytest.approx(0.67, abs=0.03) == cat @ kitten
    assert pytest.approx(0.06, abs=0.03) == cat @ stocks
    assert pytest.approx(1.0, abs=1e-5) == np.linalg.norm(cat)
    assert cat.shape == (384,)


def test_a_vector_does_not_depend_on_its_company(embedder: httpx.Client) -> None:
    """Alone, or padded beside a longer text in one batch: the same direction."""
    alone = np.array(vectors(embedder, NEAR.prompt)[0])
    beside = np.array(vectors(embedder, [NEAR.prompt, "stocks fell " * 5])[0])
    assert alone @ beside > 0.99999


def test_base64_and_tokens_are_the_same_vector(embedder: httpx.Client) -> None:
    """Little-endian float32; token ids as the tokenizer makes them."""
    import base64

    _, artifact = make("minilm")
    tokenizer = Tokenizer.from_file(f"{artifact.path}/tokenizer.json")
    tokenizer.no_padding()
    tokens = tokenizer.encode(NEAR.prompt).ids
    plain = np.array(vectors(embedder, NEAR.prompt)[0], np.float32)
    coded = np.frombuffer(base64.b64decode(vectors(embedder, [tokens], encoding_format="base64")[0]), "<f4")
    assert np.abs(plain - coded).max() < 1e-5


@pytest.mark.parametrize(
    "body",
    [
        {"input": []},
        {"input": [[]]},
        {"input": [1, "two"]},
        {"input": [-1]},
        {"input": [10**6]},
        {"input": "x", "dimensions": 5},
        {"input": "x", "encoding_format": "hex"},
        {"input": 5},
        {"input": ["x"] * 2049},
        {},
    ],
)
def test_bad_input_is_refused(embedder: httpx.Client, body: dict[str, Any]) -> None:
    """400 with an error object."""
    answer = embedder.post("/v1/embeddings", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_many_at_once_get_their_own(embedder: httpx.Client) -> None:
    """Requests that share batches do not mix their answers up."""
    import threading

    texts = [f"{number} apples and {number * 7} pears" * (1 + number % 3) for number in range(24)]
    wanted = np.array(vectors(embedder, texts))
    found: dict[int, Any] = {}

    def ask(number: int) -> None:
        found[number] = np.array(vectors(embedder, texts[number])[0])

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(texts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(found[number] @ wanted[number] > 0.9999 for number in range(len(texts)))


WORDS = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "cat": 4, "kitten": 5, "stocks": 6}


def cross_encoder(folder: Path) -> None:
    """A cross-encoder of one addition: the logit of (query, document) is the sum of its words' weights."""
    table = np.array([[0], [0], [0], [0], [0], [2], [-3]], np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["column"]),
        helper.make_node("Mul", ["rows", "column"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "one"], ["logits"], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "cross",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["b", "s"])
            for name in ("input_ids", "attention_mask")
        ],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["b", 1])],
        [
            numpy_helper.from_array(table, "table"),
            numpy_helper.from_array(np.array([2]), "last"),
            numpy_helper.from_array(np.array([1]), "one"),
        ],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(made, str(folder / "model.onnx"))
    tokenizer = Tokenizer(WordLevel(WORDS, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))


def test_a_cross_encoder_scores_pairs(tmp_path: Path) -> None:
    """One logit makes a cross-encoder: scores are its sigmoid, and it has no embeddings."""
    (tmp_path / "model").mkdir()
    cross_encoder(tmp_path / "model")
    asked = msgspec.structs.replace(NEAR, prompt="cat", closer="kitten", farther="stocks")
    model = model_of("ce", "rerank", str(tmp_path / "model"), EngineSpec(kind="onnx", context_tokens=16), asked)
    artifact = Onnx().prepare(model, tmp_path / "artifacts", print)
    with golden.running(Onnx(), model, artifact) as (address, _), client_of(address) as client:
        body = {"query": "cat", "documents": ["stocks", {"text": "kitten"}], "return_documents": True, "top_n": 1}
        answer = client.post("/v1/rerank", json=body).json()
        assert [result["index"] for result in answer["results"]] == [1]
        assert pytest.approx(1 / (1 + np.exp(-2)), abs=1e-6) == answer["results"][0]["relevance_score"]
        assert answer["results"][0]["document"] == {"text": "kitten"}
        assert answer["usage"]["total_tokens"] == 10
        assert client.post("/v1/embeddings", json={"input": "cat"}).status_code == 404


@pytest.mark.parametrize("damage", ["garbage", "external", "inputs"])
def test_a_bad_graph_is_refused(tmp_path: Path, damage: str) -> None:
    """Before any engine reads it."""
    cross_encoder(tmp_path)
    file = tmp_path / "model.onnx"
    if damage == "garbage":
        file.write_bytes(b"\x08\x0a" + os.urandom(64))
    else:
        model = onnx.load(str(file))
        if damage == "external":
            table = model.graph.initializer[0]
            table.data_location = TensorProto.EXTERNAL
            table.external_data.add(key="location", value="../../etc/passwd")
        else:
            model.graph.input[0].name = "pixels"
            model.graph.node[0].input[1] = "pixels"
        file.write_bytes(model.SerializeToString())
    with pytest.raises(Permanent, match=r"model\.onnx"):
        onnx_convert.make(tmp_path, tmp_path / "out.onnx", "", print)


def test_another_architecture_is_told(tmp_path: Path) -> None:
    """Only BERT is built here; others come as ONNX."""
    (tmp_path / "model.safetensors").write_bytes(b"")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5"}))
    with pytest.raises(Permanent, match="give an ONNX file"):
        onnx_convert.make(tmp_path, tmp_path / "out.onnx", "", print)


def test_a_context_over_the_models_positions_is_a_problem() -> None:
    """MiniLM has 512 positions; a longer text would end the process."""
    model = MODELS["minilm"]
    long = msgspec.structs.replace(model, engine=msgspec.structs.replace(model.engine, context_tokens=513))
    assert Onnx().problems(long) == ["context is 513 tokens, but the model was made for 512"]


def test_the_runner_has_no_framework_in_it() -> None:
    """What a replica imports is its memory: no training framework, no ASGI server."""
    import sys

    code = "import sys, headrace.engines.runners.onnx; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "onnx", "uvicorn", "starlette", "httpx", "huggingface_hub"} & set(loaded)
