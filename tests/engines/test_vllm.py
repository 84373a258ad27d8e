"""vLLM's command line, which is all of it that can be proven without a GPU."""

from typing import Any

import msgspec
import pytest

from headrace.engines.vllm import Vllm
from headrace.ports import Artifact
from headrace.specs.catalog import EngineSpec, Sleep
from tests.conftest import CAPITAL
from tests.conftest import model as model_of

MADE = Artifact(digest="0" * 20, path="/artifacts/x", files={"weights": "/models/llama"}, memory_bytes=1)
MODEL = model_of("llama", "chat", "/models/llama", EngineSpec(kind="vllm", slots=64, context_tokens=8192), CAPITAL)


def words(address: str = "", port: int = 8101, **args: Any) -> list[str]:
    model = msgspec.structs.replace(MODEL, engine=msgspec.structs.replace(MODEL.engine, args=args))
    return list(Vllm().command(model, MADE, address, port).argv)


def test_the_command_serves_the_prepared_weights_under_the_public_name() -> None:
    """Slots and context become vLLM's own limits."""
    found = words()
    assert found[found.index("-m") + 1] == "vllm.entrypoints.openai.api_server"
    assert {
        "--model=/models/llama",
        "--served-model-name=llama",
        "--max-model-len=8192",
        "--max-num-seqs=64",
        "--host=127.0.0.1",
        "--port=8101",
    } <= set(found)


def test_it_is_ready_when_health_answers() -> None:
    """vLLM prints no line for us; it never fetches or reports home."""
    command = Vllm().command(MODEL, MADE, "", 8101)
    assert (command.address, command.ready_path) == ("http://127.0.0.1:8101", "/health")
    assert command.env["HF_HUB_OFFLINE"] == "1"
    assert command.env["VLLM_NO_USAGE_STATS"] == "1"


def test_a_unix_socket_takes_no_port() -> None:
    """`--uds` stands alone."""
    found = words("unix:/run/e.sock")
    assert "--uds=/run/e.sock" in found
    assert not [word for word in found if word.startswith(("--host", "--port"))]


def test_arguments_of_the_spec_become_flags() -> None:
    """True is a bare flag, false is none, names may be written either way."""
    found = words(tensor_parallel_size=2, enforce_eager=True, enable_lora=False, quantization="fp8")
    assert {"--tensor-parallel-size=2", "--enforce-eager", "--quantization=fp8"} <= set(found)
    assert not [word for word in found if "lora" in word]


@pytest.mark.parametrize("name", ["host", "port", "served_model_name", "model", "uds", "api-key"])
def test_what_headrace_sets_cannot_be_replaced(name: str) -> None:
    """An argument that would move the server out of reach is a problem of the spec."""
    model = msgspec.structs.replace(MODEL, engine=msgspec.structs.replace(MODEL.engine, args={name: "x"}))
    assert f"engine.args.{name} is Headrace's to set; remove it" in Vllm().problems(model)


def test_tools_need_a_parser() -> None:
    """Without one vLLM refuses tool calls, so the gateway makes them."""
    assert not Vllm().ability(MODEL).tools
    args = {"tool-call-parser": "hermes"}
    with_parser = msgspec.structs.replace(MODEL, engine=msgspec.structs.replace(MODEL.engine, args=args))
    assert Vllm().ability(with_parser).tools


@pytest.mark.parametrize("level", [1, 2])
def test_it_is_started_so_that_it_can_sleep_only_where_it_may(level: int) -> None:
    """Sleep is served among vLLM's endpoints for development, which nobody opens unasked."""
    rests = msgspec.structs.replace(MODEL.engine, sleep=Sleep(kept_bytes=1, level=level))
    command = Vllm().command(msgspec.structs.replace(MODEL, engine=rests), MADE, "unix:/run/e.sock", 0)
    assert "--enable-sleep-mode" in command.argv
    assert command.env["VLLM_SERVER_DEV_MODE"] == "1"
    assert command.rest is not None
    assert [post.path for post in command.rest.sleep] == [f"/sleep?level={level}"]
    assert command.rest.wake[0].path.startswith("/wake_up")
    reads = any("reload_weights" in post.body for post in command.rest.wake)
    assert reads == (level == 2)
    plain = Vllm().command(MODEL, MADE, "unix:/run/e.sock", 0)
    assert ("--enable-sleep-mode" in plain.argv, "VLLM_SERVER_DEV_MODE" in plain.env) == (False, False)
