"""vLLM on a machine with a GPU: its own server, on a loopback port or a unix socket, ready when /health answers.

Made by assembly. Nothing of vLLM is imported; it is asked for only where its package is installed.
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Final

from headrace.engines import artifact as artifacts_on_disk
from headrace.engines import golden, sources
from headrace.errors import Permanent
from headrace.ports import Artifact, Command, Post, Rest
from headrace.settings import interpreter
from headrace.specs.catalog import ModelSpec
from headrace.state.table import Ability

# What the command line is built from; an argument of the spec must not replace these.
_OURS: Final = frozenset(
    {
        "model",
        "host",
        "port",
        "uds",
        "served-model-name",
        "max-model-len",
        "max-num-seqs",
        "api-key",
        "enable-lora",
        "enable-sleep-mode",
        "lora-modules",
    }
)
_BASE: Final = "-without-adapter"  # what the weights alone are called
# By level: 1 copies the weights to RAM and back; 2 drops them, and has them read again before the cache is made.
_RESTS: Final = {
    1: Rest(sleep=(Post("/sleep?level=1"),), wake=(Post("/wake_up"),)),
    2: Rest(
        sleep=(Post("/sleep?level=2"),),
        wake=(
            Post("/wake_up?tags=weights"),
            Post("/collective_rpc", '{"method": "reload_weights"}'),
            Post("/wake_up?tags=kv_cache"),
            Post("/reset_prefix_cache"),
        ),
    ),
}
_PARAMETERS: Final = ("top_k", "min_p", "repetition_penalty", "ignore_eos")


class Vllm:
    """One server process tree a replica; batching, prefix cache and device placement are vLLM's own."""

    kind = "vllm"

    def ability(self, model: ModelSpec) -> Ability:
        """Tool calls only when `engine.args` names a parser, since vLLM refuses them without one."""
        chat = model.task == "chat"
        return Ability(
            dialect="vllm",
            stream=chat,
            json_schema=chat,
            tools=chat and "tool-call-parser" in model.engine.args,
            logprobs=chat,
            n=chat,
            completions=chat,
            parameters=_PARAMETERS if chat else (),
        )

    def problems(self, model: ModelSpec) -> list[str]:
        """Why this model cannot run here."""
        found = []
        if importlib.util.find_spec("vllm") is None:
            found.append("the engine vllm is not installed; run: pip install vllm (a machine with a GPU)")
        found.extend(
            f"engine.args.{name} is Headrace's to set; remove it"
            for name in sorted(model.engine.args)
            if name.replace("_", "-") in _OURS
        )
        if model.engine.quantise:
            found.append("engine.quantise is not done for vllm; give quantised weights, or args: {quantization: fp8}")
        if model.engine.lora and model.engine.lora_scale != 1:
            found.append("engine.lora_scale is not vllm's to change; write it as lora_alpha in adapter_config.json")
        wanted = (model.source, model.engine.lora) if model.engine.lora else (model.source,)
        return found + [reason for source in wanted if (reason := sources.missing(source))]

    def prepare(self, model: ModelSpec, artifacts: Path, say: Callable[[str], None]) -> Artifact:
        """Fetch; the weights stay where the hub library keeps them. Asks the golden question of a real start."""
        found = artifacts_on_disk.load(model, artifacts)
        if found is None:
            if problems := self.problems(model):
                raise Permanent("; ".join(problems))
            say(f"{model.key}: fetching {model.source}")
            folder_of_weights = sources.fetch(model.source)
            with artifacts_on_disk.building(model, artifacts) as folder:
                weights = {"weights": str(folder_of_weights.absolute())}
                if model.engine.lora:
                    weights["lora"] = str(sources.fetch(model.engine.lora).absolute())
                found = artifacts_on_disk.publish(model, artifacts, folder, weights, {}, model.memory_bytes)
        return golden.prove(self, model, found, artifacts, say)

    def command(self, model: ModelSpec, artifact: Artifact, address: str, port: int) -> Command:
        """`vllm serve` in this interpreter. It never fetches: what `prepare` brought must do."""
        engine = model.engine
        argv = [
            *interpreter(),
            "-m",
            "vllm.entrypoints.openai.api_server",
            f"--model={Path(artifact.path) / artifact.files['weights']}",
            f"--served-model-name={engine.upstream_model or model.name}{_BASE if engine.lora else ''}",
            f"--max-model-len={engine.context_tokens}",
            f"--max-num-seqs={engine.slots}",
        ]
        if engine.lora:  # asked for by the public name, which is the adapter's then
            argv += ["--enable-lora", f"--lora-modules={model.name}={Path(artifact.path) / artifact.files['lora']}"]
        if engine.sleep:
            argv.append("--enable-sleep-mode")
        if address.startswith("unix:"):
            argv.append(f"--uds={address.removeprefix('unix:')}")
        else:
            address = f"http://127.0.0.1:{port}"
            argv += ["--host=127.0.0.1", f"--port={port}"]
        for name, value in sorted(engine.args.items()):
            flag = f"--{name.replace('_', '-')}"
            if value is True:
                argv.append(flag)
            elif value is not False:
                argv.append(f"{flag}={value}")
        env = {
            "HF_HUB_OFFLINE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "DO_NOT_TRACK": "1",
            "OMP_NUM_THREADS": str(engine.threads),
        }
        if engine.sleep:  # its sleep is served among what is for development; gateways pass none of that on
            env["VLLM_SERVER_DEV_MODE"] = "1"
        rest = _RESTS[engine.sleep.level] if engine.sleep else None
        return Command(argv=tuple(argv), env=env, address=address, ready_path="/health", rest=rest)
