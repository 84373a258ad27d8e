"""Prepared weights on disk: what they are called, where they lie, whether they are finished and proven.

The controller asks `find`; the adapters' `prepare` publishes through `building`. A folder appears under its final name
only when it is whole. This module must stay cheap to import and must never look into weights.
"""

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from headrace.ports import Artifact
from headrace.specs.catalog import Golden, ModelSpec

# Raise a number when the preparation of that engine changes what it writes: old artifacts are then not found.
PREPARATION: Final = {
    "llama_cpp": 1, "onnx": 2, "openvino": 1, "vllm": 1, "openai": 1, "painter": 3, "whisper": 3, "espeak": 1,
    "sherpa": 1, "realesrgan": 1, "rapidocr": 1, "diffusers": 1,
}  # fmt: skip
MANIFEST: Final = "manifest.json"
_CHUNK_BYTES: Final = 1 << 20


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a finished artifact says of itself. `files` maps a role to a name inside the folder, or an absolute path.

    `sources` and `outputs` map names to hex SHA-256. `memory_bytes` is one replica's resident memory: measured when
    the golden question was asked, else estimated from the files.
    """

    source: str
    engine: str
    quantise: str
    preparation: int
    files: dict[str, str]
    sources: dict[str, str]
    outputs: dict[str, str]
    memory_bytes: int
    note: str = ""


def digest(model: ModelSpec) -> str:
    """Names the prepared weights: source, quantisation, engine, preparation version and adapter, nothing else."""
    engine = model.engine
    naming: tuple[str | int | float, ...] = (model.source, engine.quantise, engine.kind, PREPARATION[engine.kind])
    if engine.lora:
        naming += (engine.lora, engine.lora_scale)
    return hashlib.sha256(msgspec.json.encode(naming)).hexdigest()[:20]


def find(model: ModelSpec, artifacts: Path) -> Artifact | None:
    """The model's finished and proven artifact; None when `prepare` has something to do."""
    found = load(model, artifacts)
    return found if found is not None and proven(model, found) else None


def load(model: ModelSpec, artifacts: Path) -> Artifact | None:
    """The finished artifact, whether or not this model's golden question was asked of it."""
    name = digest(model)
    folder = artifacts / name
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except (OSError, msgspec.MsgspecError):
        return None
    if not all((folder / file).exists() for file in manifest.files.values()):
        return None
    return Artifact(
        digest=name,
        path=str(folder),
        files=manifest.files,
        memory_bytes=manifest.memory_bytes,
        note=manifest.note,
    )


def proven(model: ModelSpec, artifact: Artifact) -> bool:
    """Whether this model's golden question has been answered rightly by these weights; true when it has none."""
    return model.golden is None or _proof(model, model.golden, artifact).exists()


def mark_proven(model: ModelSpec, artifact: Artifact) -> None:
    """Record that the golden question was answered rightly."""
    if model.golden is not None:
        _proof(model, model.golden, artifact).touch()


@contextmanager
def building(model: ModelSpec, artifacts: Path) -> Iterator[Path]:
    """A private folder to build in, removed when the body raises. What killed builders left behind is swept first.

    The body ends with `publish`, which gives the folder its final name.
    """
    artifacts.mkdir(mode=0o700, parents=True, exist_ok=True)
    prefix = f".{digest(model)}-"
    for left in artifacts.glob(f"{prefix}*"):
        _sweep(left)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=artifacts))
    lock = os.open(folder, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        os.close(lock)
        shutil.rmtree(folder, ignore_errors=True)


def publish(
    model: ModelSpec, artifacts: Path, folder: Path, files: dict[str, str], sources: dict[str, str], memory_bytes: int
) -> Artifact:
    """Write the manifest and rename the folder to its digest; another process's equal work is kept instead."""
    outputs = {
        str(path.relative_to(folder)): sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    manifest = Manifest(
        source=model.source,
        engine=model.engine.kind,
        quantise=model.engine.quantise,
        preparation=PREPARATION[model.engine.kind],
        files=files,
        sources=sources,
        outputs=outputs,
        memory_bytes=memory_bytes,
    )
    with (folder / MANIFEST).open("wb") as out:
        out.write(msgspec.json.format(msgspec.json.encode(manifest)))
        out.flush()
        os.fsync(out.fileno())
    final = artifacts / digest(model)
    if load(model, artifacts) is None:
        shutil.rmtree(final, ignore_errors=True)  # a damaged one; a whole one is never replaced
        try:
            folder.rename(final)
        except OSError:
            if load(model, artifacts) is None:
                raise
    found = load(model, artifacts)
    assert found is not None, "just published"
    return found


def measured(model: ModelSpec, artifacts: Path, memory_bytes: int) -> None:
    """Replace the estimate of a replica's memory by what was seen."""
    file = artifacts / digest(model) / MANIFEST
    manifest = msgspec.json.decode(file.read_bytes(), type=Manifest)
    changed = msgspec.structs.replace(manifest, memory_bytes=memory_bytes)
    fresh = file.with_suffix(".new")
    fresh.write_bytes(msgspec.json.format(msgspec.json.encode(changed)))
    fresh.replace(file)


def place(source: Path, target: Path) -> None:
    """Put a source file into an artifact unchanged: a hard link where possible, else a copy."""
    real = source.resolve()
    try:
        os.link(real, target)
    except OSError:
        shutil.copyfile(real, target)


def place_all(source: Path, target: Path) -> None:
    """As `place`, for a file or a whole folder of them."""
    if source.is_file():
        place(source, target)
        return
    for file in sorted(source.rglob("*")):
        if file.is_file():
            inside = target / file.relative_to(source)
            inside.parent.mkdir(parents=True, exist_ok=True)
            place(file, inside)


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file."""
    seen = hashlib.sha256()
    with path.open("rb") as data:
        while chunk := data.read(_CHUNK_BYTES):
            seen.update(chunk)
    return seen.hexdigest()


def _proof(model: ModelSpec, golden: Golden, artifact: Artifact) -> Path:
    asked = hashlib.sha256(msgspec.json.encode((model.task, golden), order="sorted")).hexdigest()[:12]
    return Path(artifact.path) / f"proof-{asked}"


def _sweep(folder: Path) -> None:
    """Remove a builder's folder unless its builder lives: then it holds the lock."""
    try:
        lock = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    except BlockingIOError:
        pass
    finally:
        os.close(lock)
