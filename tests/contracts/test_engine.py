"""What every engine adapter keeps, the same tests for all; those that start processes use the real engines."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from headrace import assembly
from headrace.engines import artifact as artifacts_on_disk
from headrace.errors import Permanent
from headrace.gateway.counting import tokens
from headrace.gateway.upstream import Pool
from headrace.ports import Artifact, Engine
from headrace.specs import sleeping
from headrace.specs.catalog import EngineSpec, ModelSpec, Sleep
from headrace.state.table import RouteReplica
from headrace.wire import stops
from tests.conftest import ARTIFACTS, CAPITAL, MODELS, SMOLLM2
from tests.conftest import model as model_of

ENGINES = assembly.engines()
FOREIGN = model_of("far", "chat", "", EngineSpec(kind="openai", url="http://127.0.0.1:9/v1"), CAPITAL)
VLLM = model_of("big", "chat", SMOLLM2, EngineSpec(kind="vllm"), CAPITAL)
ALL = [*MODELS.values(), FOREIGN, VLLM]
OWNED = [model for model in ALL if model.owned]
MADE = Artifact(
    digest="0" * 20, path="/a", files={"weights": "w", "tokenizer": "tokenizer.json", "data": "d"}, memory_bytes=1
)
PATHS = {
    "chat": "/v1/chat/completions", "embed": "/v1/embeddings", "rerank": "/v1/rerank",
    "transcribe": "/v1/audio/transcriptions", "speak": "/v1/audio/speech",
    "image": "/v1/images/generations", "upscale": "/v1/images/upscale",
}  # fmt: skip


def named(model: ModelSpec) -> str:
    return f"{model.engine.kind}-{model.name}"


def changed(model: ModelSpec, **engine: Any) -> ModelSpec:
    return msgspec.structs.replace(model, engine=msgspec.structs.replace(model.engine, **engine))


@pytest.mark.parametrize("kind", ENGINES)
def test_an_adapter_knows_its_kind(kind: str) -> None:
    """The registry's key is the adapter's own word."""
    assert kind == ENGINES[kind].kind


def test_adapters_are_cheap_to_import() -> None:
    """The idle controller loads every adapter: none may bring its engine's library with it."""
    heavy = {"numpy", "onnx", "onnxruntime", "gguf", "xllamacpp", "openvino", "openvino_genai", "tokenizers"}
    heavy |= {
        "huggingface_hub",
        "safetensors",
        "httpx",
        "asyncio",
        "av",
        "ctranslate2",
        "faster_whisper",
        "sherpa_onnx",
    }
    code = (
        "import sys; from headrace import assembly; before = set(sys.modules); assembly.engines(); "
        "from headrace.engines import artifact; print(*sorted(set(sys.modules) - before))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert set() == heavy & {name.partition(".")[0] for name in loaded}


@pytest.mark.parametrize("model", [*MODELS.values(), FOREIGN], ids=named)
def test_a_good_model_has_no_problems(model: ModelSpec) -> None:
    """What the default cloud runs can run here."""
    assert ENGINES[model.engine.kind].problems(model) == []


@pytest.mark.parametrize("model", [*MODELS.values(), VLLM], ids=named)
def test_problems_name_the_source_and_the_quantisation(model: ModelSpec) -> None:
    """Each fault of a model is told, with the value that is wrong."""
    bad = changed(msgspec.structs.replace(model, source="/nowhere/model.gguf"), quantise="Q9_9")
    told = " ".join(ENGINES[model.engine.kind].problems(bad))
    assert "/nowhere/model.gguf" in told
    assert "quantise" in told


@pytest.mark.parametrize("model", OWNED, ids=named)
def test_a_command_is_a_pure_function(model: ModelSpec) -> None:
    """Same in, same out; the address is the one given; nothing of this process's environment goes along."""
    engine = ENGINES[model.engine.kind]
    one = engine.command(model, MADE, "unix:/run/engine.sock", 9)
    assert one == engine.command(model, MADE, "unix:/run/engine.sock", 9)
    assert one.address == "unix:/run/engine.sock"
    assert any("/run/engine.sock" in word for word in one.argv)
    assert sys.executable == one.argv[0]
    assert not {"HOME", "PATH", "HEADRACE_API_KEY"} & set(one.env)


@pytest.mark.parametrize("model", OWNED, ids=named)
def test_the_digest_names_the_preparation_alone(model: ModelSpec) -> None:
    """Slots and threads share weights; another quantisation or source does not."""
    digest = artifacts_on_disk.digest(model)
    assert digest == artifacts_on_disk.digest(changed(msgspec.structs.replace(model, name="x"), slots=3, threads=7))
    assert digest != artifacts_on_disk.digest(changed(model, quantise="other"))
    assert digest != artifacts_on_disk.digest(msgspec.structs.replace(model, source="/other"))


def test_a_foreign_server_is_neither_prepared_nor_started(tmp_path: Path) -> None:
    """There are no weights and there is no process."""
    engine = ENGINES["openai"]
    with pytest.raises(Permanent, match="neither prepares nor starts"):
        engine.prepare(FOREIGN, tmp_path, print)
    with pytest.raises(Permanent, match="neither prepares nor starts"):
        engine.command(FOREIGN, MADE, "", 0)


@pytest.mark.parametrize("name", MODELS)
def test_prepare_is_idempotent(name: str, prepared: Callable[[str], tuple[ModelSpec, Artifact]]) -> None:
    """A finished artifact is found, whole, and not made again."""
    model, artifact = prepared(name)
    said: list[str] = []
    found = ENGINES[model.engine.kind].prepare(model, ARTIFACTS, said.append)
    assert artifact.digest == found.digest
    assert said == []
    assert found == artifacts_on_disk.find(model, ARTIFACTS)
    assert all((Path(found.path) / file).exists() for file in found.files.values())
    assert 50 << 20 < found.memory_bytes < 700 << 20


@dataclass
class Replica:
    """A running engine and a client of its socket."""

    model: ModelSpec
    process: "subprocess.Popen[bytes]"
    client: httpx.Client
    socket: Path

    def post(self, path: str, **body: Any) -> httpx.Response:
        return self.client.post(path, json={"model": self.model.name, **body})

    def ask(self, **body: Any) -> httpx.Response:
        return self.post("/v1/chat/completions", messages=[{"role": "user", "content": CAPITAL.prompt}], **body)

    def until(self, happened: Callable[[], bool], seconds: float = 20) -> None:
        end = time.monotonic() + seconds
        while not happened():
            assert time.monotonic() < end, "it did not happen in time"


def start(engine: Engine, model: ModelSpec, artifact: Artifact, folder: Path) -> Replica:
    socket = folder / "engine.sock"
    command = engine.command(model, artifact, f"unix:{socket}", 0)
    process = subprocess.Popen(
        command.argv, env={"PATH": os.environ["PATH"]} | command.env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    line = json.loads(process.stdout.readline())
    assert (True, f"unix:{socket}") == (line["ready"], line["address"])
    # Each request has its own connection: llama.cpp closes idle ones after 5 s, which a slow machine may meet.
    once = httpx.HTTPTransport(uds=str(socket), limits=httpx.Limits(max_keepalive_connections=0))
    client = httpx.Client(transport=once, base_url="http://engine", timeout=60)
    return Replica(model, process, client, socket)


def end(replica: Replica) -> None:
    replica.client.close()
    replica.process.kill()
    replica.process.wait()
    assert replica.process.stdout is not None
    replica.process.stdout.close()


@pytest.fixture(scope="module", params=list(MODELS))
def replica(
    request: pytest.FixtureRequest,
    prepared: Callable[[str], tuple[ModelSpec, Artifact]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Replica]:
    model, artifact = prepared(request.param)
    made = start(ENGINES[model.engine.kind], model, artifact, tmp_path_factory.mktemp("r"))
    yield made
    end(made)


def writes(model: ModelSpec) -> bool:
    """Whether it continues a text; a reader of pictures is asked as chat models are, and does not."""
    return model.task == "chat" and not ENGINES[model.engine.kind].ability(model).images


def texts_only(replica: Replica) -> None:
    if not writes(replica.model) and replica.model.task not in ("embed", "rerank"):
        pytest.skip("a truth of engines of texts")


def chat_only(replica: Replica) -> None:
    if not writes(replica.model):
        pytest.skip("a truth of engines that write")


def test_a_replica_is_healthy_once_it_says_so(replica: Replica) -> None:
    """The line on standard output is the truth."""
    assert replica.client.get("/health").status_code == 200


def test_an_unknown_path_is_refused(replica: Replica) -> None:
    """404 with an error object."""
    answer = replica.client.get("/nothing")
    assert answer.status_code == 404
    assert "error" in answer.json()


def test_broken_json_is_refused_and_the_replica_lives(replica: Replica) -> None:
    """Bad bytes are a 4xx or 5xx answer, never the end of the process."""
    path = PATHS[replica.model.task]
    assert replica.client.post(path, content=b'{"a":').status_code >= 400
    assert replica.client.get("/health").status_code == 200


def test_an_answer_names_the_model_and_counts_its_tokens(replica: Replica) -> None:
    """`model` is the published name; usage adds up."""
    texts_only(replica)
    if replica.model.task == "chat":
        answer = replica.ask(max_tokens=12, temperature=0).json()
        assert "Paris" in answer["choices"][0]["message"]["content"]
        assert 0 < answer["usage"]["completion_tokens"] <= 12
    elif replica.model.task == "embed":
        answer = replica.post("/v1/embeddings", input=["one", "two words"]).json()
        assert [entry["index"] for entry in answer["data"]] == [0, 1]
    else:
        answer = replica.post("/v1/rerank", query="a cat", documents=["stocks", "a kitten"]).json()
        assert [entry["index"] for entry in answer["results"]] == [1, 0]
    usage = answer["usage"]
    assert replica.model.name == answer["model"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage.get("completion_tokens", 0)


def events(replica: Replica, **body: Any) -> list[Any]:
    return [json.loads(line[6:]) for line in raw_events(replica, **body) if line != "data: [DONE]"]


def raw_events(replica: Replica, **body: Any) -> list[str]:
    text = replica.ask(stream=True, stream_options={"include_usage": True}, **body).text
    return [line for line in text.split("\n\n") if line]


def test_a_stream_is_openais(replica: Replica) -> None:
    """Role first, pieces, a reason, then usage alone, then [DONE]; joined, it is the unstreamed answer."""
    chat_only(replica)
    lines = raw_events(replica, max_tokens=12, temperature=0)
    assert lines[-1] == "data: [DONE]"
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    assert {"chat.completion.chunk"} == {chunk["object"] for chunk in chunks}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert chunks[-1]["choices"] == []
    assert chunks[-2]["choices"][0]["finish_reason"] in ("stop", "length")
    pieces = [chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks[:-1]]
    whole = replica.ask(max_tokens=12, temperature=0).json()
    assert whole["choices"][0]["message"]["content"] == "".join(pieces)
    assert whole["usage"]["completion_tokens"] == chunks[-1]["usage"]["completion_tokens"]


def test_a_stop_text_is_not_shown(replica: Replica) -> None:
    """The answer ends before it, streamed or not."""
    chat_only(replica)
    whole = replica.ask(max_tokens=30, temperature=0, stop=["Paris"]).json()["choices"][0]
    chunks = events(replica, max_tokens=30, temperature=0, stop=["Paris"])
    streamed = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"])
    assert whole["finish_reason"] == "stop"
    assert "Paris" not in whole["message"]["content"] + streamed


def test_which_stop_text_was_met_is_told(replica: Replica) -> None:
    """Streamed or not, where the engine is asked as the gateway asks it."""
    chat_only(replica)
    ability, asked = ENGINES[replica.model.engine.kind].ability(replica.model), ["zzz", "Paris"]
    wish = {"messages": [{"role": "user", "content": CAPITAL.prompt}], "max_tokens": 30, "temperature": 0}
    for stream in (False, True):
        body = stops.asking(json.dumps({"model": "m", **wish, "stop": asked, "stream": stream}).encode(), ability)
        said = replica.client.post("/v1/chat/completions", content=body).text
        lines = [line.removeprefix("data: ").encode() for line in said.split("\n") if line]
        assert [found for line in lines if (found := stops.met(line, asked))] == ["Paris"]


def test_a_seed_repeats_an_answer(replica: Replica) -> None:
    """Sampling with the same seed, the replica otherwise idle, gives the same text."""
    chat_only(replica)
    texts = [replica.ask(max_tokens=12, temperature=0.9, seed=7).json()["choices"][0]["message"] for _ in range(2)]
    assert texts[0] == texts[1]


def test_several_choices_are_given(replica: Replica) -> None:
    """`n` choices under their indices."""
    chat_only(replica)
    choices = replica.ask(max_tokens=6, n=3, temperature=1.0).json()["choices"]
    assert sorted(choice["index"] for choice in choices) == [0, 1, 2]


def test_a_schema_is_enforced(replica: Replica) -> None:
    """The answer parses and has the names that the schema demands."""
    chat_only(replica)
    city = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 12}}, "required": ["city"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "city", "schema": city | {"additionalProperties": False}}}
    text = replica.ask(max_tokens=60, temperature=0, response_format=wanted).json()["choices"][0]["message"]["content"]
    assert {"city"} == set(json.loads(text))


def test_completions_take_a_prompt(replica: Replica) -> None:
    """The older form answers with a text."""
    chat_only(replica)
    answer = replica.post("/v1/completions", prompt="Once upon a", max_tokens=4, temperature=0).json()
    assert answer["object"] == "text_completion"
    assert answer["usage"]["completion_tokens"] == 4
    assert answer["choices"][0]["text"]


def test_a_prompt_over_the_context_is_refused(replica: Replica) -> None:
    """400 with the count, never a silent cut."""
    texts_only(replica)
    long = "word " * 3000
    if replica.model.task == "chat":
        answer = replica.post("/v1/chat/completions", messages=[{"role": "user", "content": long}])
    elif replica.model.task == "embed":
        answer = replica.post("/v1/embeddings", input=long)
    else:
        answer = replica.post("/v1/rerank", query="word", documents=[long])
    assert answer.status_code == 400
    assert re.search(r"\b30\d\d\b", answer.json()["error"]["message"])


def test_a_client_that_leaves_frees_its_slots(replica: Replica) -> None:
    """Within a second all slots of the replica take new work, while each had hundreds of tokens to go."""
    chat_only(replica)
    body = {
        "messages": [{"role": "user", "content": "Tell a story."}],
        "max_tokens": 900,
        "ignore_eos": True,
        "stream": True,
    }
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(replica.socket)), base_url="http://e") as leaving:
        opened = []
        for _ in range(replica.model.engine.slots):
            request = leaving.build_request("POST", "/v1/chat/completions", json=body)
            opened.append(leaving.send(request, stream=True))
        for answer in opened:
            next(answer.iter_raw())
        for answer in opened:
            answer.close()
    left = time.monotonic()
    assert replica.ask(max_tokens=1).status_code == 200
    assert time.monotonic() - left < 2.0


def test_sigterm_finishes_what_runs_and_exits_zero(
    replica: Replica, prepared: Callable[[str], tuple[ModelSpec, Artifact]], tmp_path: Path
) -> None:
    """The stream that runs comes to its end, no one else gets in, and the socket's name is gone."""
    model, artifact = prepared(replica.model.name)
    other = start(ENGINES[model.engine.kind], model, artifact, tmp_path)
    try:
        if writes(model):
            body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 60, "ignore_eos": True}
            with other.client.stream("POST", "/v1/chat/completions", json=body | {"stream": True}) as answer:
                lines = answer.iter_lines()
                next(lines)
                other.process.send_signal(signal.SIGTERM)
                other.until(lambda: not other.socket.exists())
                assert [line for line in lines if line][-1] == "data: [DONE]"
        else:
            other.process.send_signal(signal.SIGTERM)
        assert other.process.wait(20) == 0
        assert not other.socket.exists()
    finally:
        end(other)


def test_our_runners_refuse_what_they_do_not_know(replica: Replica) -> None:
    """An unknown field is a 400 that names it; the load is told."""
    if ENGINES[replica.model.engine.kind].ability(replica.model).dialect != "headrace":
        pytest.skip("a truth of our own runners")
    path = PATHS[replica.model.task]
    answer = replica.post(path, messages=[], input="x", query="x", documents=["x"], surprise=1)
    assert answer.status_code == 400
    assert "unknown field" in answer.json()["error"]["message"]
    assert {"running", "waiting", "slots"} == set(replica.client.get("/load").json())


def test_a_prompt_is_counted_before_as_it_is_after(replica: Replica) -> None:
    """What a ready replica says a prompt is, and what it then counts, are the same; foreign scripts, code, turns."""
    texts_only(replica)
    kind = replica.model.engine.kind
    if kind == "openvino":
        pytest.skip("its runner does not tell")
    texts = ["Hi", "Grüße, 你好! " * 9, "def f(x):\n    return x ** 2  # it's <|im_start|> so\n"]
    if replica.model.task == "chat":
        path, turns = "/v1/chat/completions", [{"role": "system", "content": texts[1]}]
        body: dict[str, Any] = {"messages": [*turns, {"role": "user", "content": texts[2]}], "max_tokens": 1}
    elif replica.model.task == "embed":
        path, body = "/v1/embeddings", {"input": texts}
    else:
        path, body = "/v1/rerank", {"query": texts[0], "documents": texts}
    dialect = ENGINES[kind].ability(replica.model).dialect
    pool = Pool(
        RouteReplica(
            id="r", model="m", version="v1", incarnation="i", address=f"unix:{replica.socket}", slots=1, phase="ready",
            upstream_model="m",
        )
    )  # fmt: skip

    async def counted() -> int | None:
        try:
            return await tokens(pool, dialect, msgspec.json.encode(body))
        finally:
            pool.close()

    assert asyncio.run(counted()) == replica.post(path, **body).json()["usage"]["prompt_tokens"]


def rests(model: ModelSpec) -> ModelSpec:
    """The model, as one that sleeps where its engine can."""
    level = 1 if model.engine.kind == "vllm" else 0
    able = model.engine.kind in sleeping.SLEEPERS
    return changed(model, sleep=Sleep(kept_bytes=1 << 20, level=level) if able else None)


@pytest.mark.parametrize("model", OWNED, ids=named)
def test_an_adapter_says_how_to_sleep_exactly_where_its_kind_can(model: ModelSpec) -> None:
    """What the cloud file may say and what the adapter does agree."""
    engine = ENGINES[model.engine.kind]
    can = engine.command(rests(model), MADE, "unix:/run/engine.sock", 9).rest is not None
    assert can == (model.engine.kind in sleeping.SLEEPERS)
    assert engine.command(changed(model, sleep=None), MADE, "unix:/run/engine.sock", 9).rest is None


@pytest.mark.parametrize("name", ["smollm2", "minilm", "minilm-rerank"])
def test_a_runner_sleeps_at_what_its_kind_keeps_and_answers_the_same_when_it_wakes(
    name: str, prepared: Callable[[str], tuple[ModelSpec, Artifact]], tmp_path: Path
) -> None:
    """Twice: the weights go, the process stays, and the first answer after a wake is that of before."""
    model, artifact = prepared(name)
    replica = start(ENGINES[model.engine.kind], model, artifact, tmp_path)

    def answer() -> Any:
        if model.task == "chat":
            return replica.ask(max_tokens=12, temperature=0).json()["choices"][0]["message"]
        if model.task == "embed":
            return replica.post("/v1/embeddings", input="a cat").json()["data"]
        return replica.post("/v1/rerank", query="a cat", documents=["stocks", "a kitten"]).json()["results"]

    def turn(number: signal.Signals) -> Any:
        replica.process.send_signal(number)
        assert replica.process.stdout is not None
        return json.loads(replica.process.stdout.readline())

    try:
        before = answer()
        for _ in range(2):
            assert turn(signal.SIGUSR1) == {"asleep": True}
            assert rss_bytes(replica.process.pid) <= sleeping.KEPT_BYTES[model.engine.kind]
            assert turn(signal.SIGUSR2)["ready"] is True
            assert answer() == before
        assert turn(signal.SIGUSR1) == {"asleep": True}
        replica.process.send_signal(signal.SIGTERM)
        assert replica.process.wait(20) == 0
    finally:
        end(replica)


def rss_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmRSS"))
