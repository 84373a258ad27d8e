"""The engine of a model version in a cloud file, resolved: what each kind does, takes and is given by default. Pure.

Used by `specs.load`. A version's words come before the model's, and another kind begins anew.
"""

from collections.abc import Callable
from typing import Final

from msgspec.structs import asdict, replace

from headrace.specs import document as doc
from headrace.specs import sources
from headrace.specs.catalog import EngineSpec

Path = tuple[str, ...]
Note = Callable[[Path, str], None]
SLOTS_DEFAULT: Final = 8
CONTEXT_DEFAULT: Final = 2048

# Which tasks an engine kind does; what one cannot is a fault of the file and not of a replica at three in the night.
TASKS: Final[dict[str, tuple[str, ...]]] = {
    "llama_cpp": ("chat",),
    "openvino": ("chat",),
    "onnx": ("embed", "rerank"),
    "openai": ("chat", "embed", "rerank", "image", "transcribe", "speak", "video"),
    "vllm": ("chat", "embed", "rerank", "transcribe"),
    "painter": ("image", "video"),
    "realesrgan": ("upscale",),
    "rapidocr": ("chat",),
    "whisper": ("transcribe",),
    "espeak": ("speak",),
    "sherpa": ("speak",),
    "diffusers": ("image", "video"),
}

# Kinds that end an answer where the context ends; the others refuse a request that asks for more than is left.
ENDS_AT_CONTEXT: Final = ("llama_cpp", "openvino")

_WITH_ARGS: Final = ("vllm", "openai", "diffusers")
_ADAPTED: Final = ("llama_cpp", "vllm")  # kinds that take LoRA adapters


def engine(model: doc.Model, own: doc.Version, folder: str, path: Path, note: Note) -> tuple[EngineSpec, doc.Engine]:
    """The engine, and what the file says of it, a version's words over the model's."""
    wanted = asdict(model.engine)
    if own.engine is not None:
        given = {name: value for name, value in asdict(own.engine).items() if value is not None}
        other_kind = given.get("kind", wanted["kind"]) != wanted["kind"]
        wanted = {**(dict.fromkeys(wanted) if other_kind else wanted), **given}
    at = (*path, "engine")
    if wanted["kind"] is None:
        note(at, f"kind is missing; give one of {', '.join(TASKS)}")
        return EngineSpec(kind="openai"), doc.Engine()
    kind = wanted["kind"]
    if model.task not in TASKS[kind]:
        able = ", ".join(name for name, tasks in TASKS.items() if model.task in tasks)
        note((*at, "kind"), f"{kind} does not do {model.task}; give one of {able}")
    for field in ("url", "api_key", "upstream_model"):
        if wanted[field] is not None and kind != "openai":
            note((*at, field), f"is for kind openai, and this is {kind}; remove it")
    if wanted["args"] and kind not in _WITH_ARGS:
        note((*at, "args"), f"is for kinds {', '.join(_WITH_ARGS)}, and this is {kind}; remove it")
    for field in ("lora", "lora_scale"):
        if wanted[field] is not None and kind not in _ADAPTED:
            note((*at, field), f"is for kinds {' and '.join(_ADAPTED)}, and this is {kind}; remove it")
    made = EngineSpec(
        kind=kind,
        slots=wanted["slots"] or SLOTS_DEFAULT,
        context_tokens=wanted["context"] or CONTEXT_DEFAULT,
        threads=wanted["threads"] or 1,
        quantise=wanted["quantise"] or "",
        url=wanted["url"] or "",
        api_key=wanted["api_key"] or "",
        upstream_model=wanted["upstream_model"] or "",
        args=wanted["args"] or {},
        lora=sources.source(wanted["lora"], folder, (*at, "lora"), note) if wanted["lora"] else "",
        lora_scale=1.0 if wanted["lora_scale"] is None else float(wanted["lora_scale"]),
    )
    return made, doc.Engine(**wanted)


def foreign(source: str, engine: EngineSpec, path: Path, note: Note) -> tuple[str, EngineSpec]:
    """An existing server is its own source: `source` and `engine.url` stand in for each other."""
    if not engine.url and not source.startswith(("http://", "https://")):
        note(path[:-1], "engine.url is missing; say where the server listens, like http://127.0.0.1:8000")
    return source or engine.url, replace(engine, url=engine.url or source)
