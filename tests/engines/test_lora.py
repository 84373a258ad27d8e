"""LoRA adapters as variants of a model: another answer from the same weights, and one's own artifact and price."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import httpx
import msgspec
import numpy as np
import pytest

from headrace.engines import artifact as artifacts_on_disk
from headrace.engines import golden, sources
from headrace.engines.llama_cpp import LlamaCpp
from headrace.engines.vllm import Vllm
from headrace.errors import Permanent
from headrace.ports import Artifact
from headrace.specs.catalog import EngineSpec, Golden, ModelSpec
from tests.conftest import CAPITAL, MODELS, SMOLLM2
from tests.conftest import model as model_of

RANK, EMBEDDED = 4, 576
ENGINE = LlamaCpp()


def write_adapter(file: Path) -> None:
    """Pushes what the last layer writes away from "Paris" and towards "London": one tensor of rank 4."""
    words = np.zeros((2, EMBEDDED), np.float32)
    reader = gguf.GGUFReader(str(sources.fetch(SMOLLM2)))
    table = next(tensor for tensor in reader.tensors if tensor.name == "token_embd.weight")
    field = reader.fields["tokenizer.ggml.tokens"]
    names = [bytes(field.parts[index]).decode() for index in field.data]
    for row, word in enumerate(("ĠLondon", "ĠParis")):
        words[row] = gguf.quants.dequantize(table.data[names.index(word)][None], table.tensor_type)[0]
    luck = np.random.default_rng(1)
    down = luck.normal(0, 1, (RANK, EMBEDDED)).astype(np.float32)
    up = np.tile(((words[0] - words[1]) * 40)[:, None], (1, RANK)).astype(np.float32)
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(RANK))
    writer.add_tensor("blk.29.attn_output.weight.lora_a", down)
    writer.add_tensor("blk.29.attn_output.weight.lora_b", up)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def variant(adapter: str, scale: float = 1.0, source: str = SMOLLM2) -> ModelSpec:
    base = MODELS["smollm2"]
    engine = EngineSpec(kind="llama_cpp", slots=1, context_tokens=256, threads=2, lora=adapter, lora_scale=scale)
    return msgspec.structs.replace(base, version="tuned", source=source, engine=engine, golden=None)


Prepared = Callable[[str], tuple[ModelSpec, Artifact]]


def weights_of(artifact: Artifact) -> str:
    return str(Path(artifact.path) / artifact.files["weights"])


def answer(model: ModelSpec, found: Artifact) -> str:
    with golden.running(ENGINE, model, found) as (address, _):
        transport = httpx.HTTPTransport(uds=address.removeprefix("unix:"))
        with httpx.Client(transport=transport, base_url="http://e", timeout=60) as client:
            body = {"messages": [{"role": "user", "content": CAPITAL.prompt}], "temperature": 0, "max_tokens": 12}
            return str(client.post("/v1/chat/completions", json=body).json()["choices"][0]["message"]["content"])


def test_an_adapter_changes_the_answer_as_far_as_it_is_applied(tmp_path: Path, prepared: Prepared) -> None:
    """At scale 0 it is the base model to the letter; at 1 the base's answer is gone. Its artifact is its own."""
    base, base_artifact = prepared("smollm2")
    write_adapter(tmp_path / "lora.gguf")
    plain = answer(base, base_artifact)
    assert "Paris" in plain
    texts = {}
    for scale in (0.0, 1.0):
        model = variant(str(tmp_path / "lora.gguf"), scale, weights_of(base_artifact))
        found = ENGINE.prepare(model, tmp_path / "artifacts", print)
        assert found.digest != base_artifact.digest
        texts[scale] = answer(model, found)
    assert texts[0.0] == plain
    assert texts[1.0] != plain


def test_a_variant_must_answer_its_own_golden_question(tmp_path: Path, prepared: Prepared) -> None:
    """What the adapter makes wrong is not served."""
    write_adapter(tmp_path / "lora.gguf")
    weights = weights_of(prepared("smollm2")[1])
    strong = msgspec.structs.replace(variant(str(tmp_path / "lora.gguf"), 10.0, weights), golden=CAPITAL)
    with pytest.raises(Permanent, match="golden question"):
        ENGINE.prepare(strong, tmp_path / "artifacts", print)


def test_a_whole_model_is_no_adapter(tmp_path: Path) -> None:
    """By the file's own header; and a missing one is told before anything starts."""
    with pytest.raises(Permanent, match="no LoRA adapter"):
        ENGINE.prepare(variant(SMOLLM2), tmp_path, print)
    assert ENGINE.problems(variant("/nowhere/lora.gguf")) == ["/nowhere/lora.gguf does not exist; correct `source`"]


def test_an_adapter_is_part_of_the_digest_and_no_adapter_leaves_it_as_it_was() -> None:
    """Artifacts made before there were adapters are still found."""
    base = variant("")
    digests = {artifacts_on_disk.digest(variant(*given)) for given in (("/a.gguf",), ("/b.gguf",), ("/a.gguf", 0.5))}
    assert len({artifacts_on_disk.digest(base), *digests}) == 4
    naming = (SMOLLM2, "", "llama_cpp", artifacts_on_disk.PREPARATION["llama_cpp"])
    assert artifacts_on_disk.digest(base) == hashlib.sha256(msgspec.json.encode(naming)).hexdigest()[:20]


def vllm(**engine: Any) -> ModelSpec:
    return model_of("tuned", "chat", "/models/llama", EngineSpec(kind="vllm", **engine), Golden(prompt="x", expect="y"))


def test_vllm_serves_the_adapter_under_the_public_name() -> None:
    """The weights alone get a name that nobody asks for."""
    files = {"weights": "/models/llama", "lora": "/models/tuned"}
    made = Artifact(digest="0" * 20, path="/artifacts/x", files=files, memory_bytes=1)
    argv = Vllm().command(vllm(lora="/models/tuned"), made, "", 8101).argv
    assert {"--enable-lora", "--lora-modules=tuned=/models/tuned", "--served-model-name=tuned-without-adapter"} <= set(
        argv
    )
    plain = Vllm().command(vllm(), made, "", 8101).argv
    assert "--served-model-name=tuned" in plain
    assert not [word for word in plain if "lora" in word]


def test_vllm_cannot_scale_an_adapter() -> None:
    """It says where the scale stands instead."""
    told = " ".join(Vllm().problems(vllm(lora="/nowhere", lora_scale=0.5)))
    assert "lora_alpha" in told
    assert "/nowhere does not exist" in told
