"""What the file says of sleep: who can, what is kept, and what does not fit together."""

import pytest

from headrace.specs.catalog import ModelSpec, Sleep
from headrace.specs.load import load_text
from headrace.specs.problem import InvalidCloud
from headrace.specs.sleeping import KEPT_BYTES

FILE = """
version: 1
pools:
  gpus: {{accelerator: nvidia-h100, count: 1, memory: 80GB, cpus: 8, price_per_hour: 2}}
models:
  m:
    task: {task}
    source: file:///weights
    engine: {{kind: {engine}}}
    memory: {memory}
    scaling: {{{scaling}}}
"""


def model(engine: str, scaling: str = "", memory: str = "40GB", task: str = "chat") -> ModelSpec:
    return load_text(FILE.format(engine=engine, scaling=scaling, memory=memory, task=task)).models[0]


def problem(*words: str) -> str:
    with pytest.raises(InvalidCloud) as found:
        model(*words)
    return "; ".join(one.message for one in found.value.problems)


def test_our_runners_can_always_and_do_where_idling_is_a_question_of_cost() -> None:
    """A fixed idle time means what it always did."""
    assert model("llama_cpp").engine.sleep == Sleep(kept_bytes=KEPT_BYTES["llama_cpp"])
    for given, auto in (("", False), ("idle_to_zero: auto", True), ("idle_to_zero: auto, idle_to_sleep: never", False)):
        scaling = model("llama_cpp", given).scaling
        assert (scaling.sleep_auto, scaling.idle_to_sleep_us) == (auto, None)
    assert model("llama_cpp", "idle_to_sleep: 20s, wake: 500ms").scaling.idle_to_sleep_us == 20_000_000


def test_vllm_sleeps_only_where_it_is_told_to() -> None:
    """It takes RAM at level 1, and its endpoints for development."""
    plain = model("vllm", "idle_to_zero: auto")
    assert (plain.engine.sleep, plain.scaling.sleep_auto) == (None, False)
    assert model("vllm", "idle_to_sleep: auto").engine.sleep == Sleep(
        kept_bytes=4_000_000_000, host_bytes=40_000_000_000, level=1
    )
    two = model("vllm, sleep_level: 2, sleep_memory: 3GB", "idle_to_sleep: 1m")
    assert two.engine.sleep == Sleep(kept_bytes=3_000_000_000, level=2)
    assert two.digest != plain.digest  # it is started in another way


def test_what_cannot_be_is_told_by_name_with_what_can() -> None:
    """Each with the fix."""
    assert "kind openvino cannot sleep" in problem("openvino", "idle_to_sleep: auto")
    assert "is for kind vllm" in problem("llama_cpp, sleep_level: 1")
    assert "is for kinds that can sleep, onnx, llama_cpp, vllm" in problem("openvino, sleep_memory: 1GB")
    assert "asleep it keeps 50 GB" in problem("vllm, sleep_memory: 50GB", "idle_to_sleep: auto").replace(
        "46.6 GiB", "50 GB"
    )
    assert "after 30s idle it goes; give less" in problem("llama_cpp", "idle_to_sleep: 1m, idle_to_zero: 30s")


def test_a_model_smaller_than_a_sleeper_does_not_sleep() -> None:
    """It would gain nothing."""
    assert model("onnx", memory="90MiB", task="embed").engine.sleep is None
