"""Where weights come from: a file, a Python package, or a hub; always a path in the end, never executable formats.

Adapters' `prepare` calls `fetch`, their `problems` calls `missing`. Nothing here imports the package it looks into,
and nothing that can carry code (pickle) gets past `refuse_code`. A `.bin` file, which is mostly a pickle, is taken for
CTranslate2 alone, and only when all of it is in that format.
"""

import importlib.util
import os
import sys
import zipfile
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from headrace.engines import ctranslate2_header
from headrace.errors import Permanent

_HUB: Final = "hf://"
_PACKAGE: Final = "package://"
_FILE: Final = "file://"
_ALLOWED: Final = ("*.safetensors", "*.onnx", "*.gguf", "*.json", "*.txt")
_WEIGHTS: Final = frozenset({".safetensors", ".onnx", ".gguf"})
_SUFFIXES: Final = _WEIGHTS | {".json", ".txt"}
_CTRANSLATE2: Final = "model.bin"
_PICKLE_OPENING: Final = b"\x80"  # protocol 2 and later; torch's zip files are told by what is in them


def missing(source: str) -> str:
    """Why this source cannot be found here, with the fix; empty when it can, or when only the network knows."""
    if source.startswith(_HUB):
        return "" if _hub_parts(source) else f"{source} is not a hub address; write hf://ORG/REPO[@REVISION][/FILE]"
    if source.startswith(_PACKAGE):
        return _missing_package(source)
    path = _local(source)
    return "" if path.exists() else f"{path} does not exist; correct `source`"


def fetch(source: str, *, ctranslate2: bool = False) -> Path:
    """The file or folder that `source` names, downloaded if need be. Raises Permanent with the reason and the fix.

    `ctranslate2`: a folder may hold a `model.bin`, which is then read through and refused unless it is that format.
    """
    reason = missing(source)
    if reason:
        raise Permanent(reason)
    path = _download(source, ctranslate2) if source.startswith(_HUB) else _local(source)
    for file in [path] if path.is_file() else path.rglob("*"):
        if file == path or file.suffix in _WEIGHTS or (ctranslate2 and file.name == _CTRANSLATE2):
            refuse_code(file)
            if file.name == _CTRANSLATE2:
                ctranslate2_header.read(file)
    return path


def local(source: str) -> Path | None:
    """Where a source lies on this machine; None for one that is not there or only the hub has."""
    return None if source.startswith(_HUB) or missing(source) else _local(source)


def refuse_code(file: Path) -> None:
    """Raise Permanent when a file's content is a pickle or a torch archive, whatever its name is."""
    with file.open("rb") as data:
        opening = data.read(4)
    archive = opening == b"PK\x03\x04" and zipfile.is_zipfile(file)
    if opening[:1] == _PICKLE_OPENING or archive or opening[:2] == b"(d":
        raise Permanent(
            f"{file.name} is a pickle or an archive, which can run code when it is read; "
            "give weights as safetensors, GGUF or ONNX"
        )


def one(folder: Path, suffix: str) -> Path:
    """The one file with that suffix in a folder, or the file itself. Raises Permanent when there is none or more."""
    if folder.is_file():
        found = [folder] if folder.suffix == suffix else []
    else:
        found = sorted(folder.glob(f"*{suffix}")) or sorted(folder.glob(f"*/*{suffix}"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise Permanent(f"{folder} must hold exactly one {suffix} file, found {names}; name the file in `source`")
    return found[0]


def _local(source: str) -> Path:
    if source.startswith(_PACKAGE):
        package, _, name = source.removeprefix(_PACKAGE).partition("/")
        root = _package_folder(package)
        assert root is not None, "missing() was asked before"
        return root / name
    if source.startswith(_FILE):
        return Path(unquote(source.removeprefix(_FILE)))
    return Path(source).expanduser()


def _missing_package(source: str) -> str:
    package, _, name = source.removeprefix(_PACKAGE).partition("/")
    if not package.isidentifier() or ".." in name.split("/"):
        return f"{source} is not a package file; write package://PYTHON_PACKAGE/FILE"
    root = _package_folder(package)
    if root is None:
        fix = f"{sys.executable} -m pip install {package.replace('_', '-')}"
        return f"the Python package {package} is not installed; run: {fix}"
    return "" if (root / name).exists() else f"the Python package {package} has no {name!r}; correct `source`"


def _package_folder(package: str) -> Path | None:
    found = importlib.util.find_spec(package)  # a top-level name: found without importing it
    if found is None or not found.submodule_search_locations:
        return None
    return Path(next(iter(found.submodule_search_locations)))


def _hub_parts(source: str) -> tuple[str, str, str] | None:
    """(repo, revision, file) of hf://org/repo[@rev][/file]."""
    words = source.removeprefix(_HUB).split("/", 2)
    if len(words) < 2 or not all(words) or ".." in source:
        return None
    name, _, revision = words[1].partition("@")
    return f"{words[0]}/{name}", revision or "main", words[2] if len(words) == 3 else ""


def _download(source: str, ctranslate2: bool) -> Path:
    parts = _hub_parts(source)
    assert parts is not None, "missing() was asked before"
    repo, revision, file = parts
    if file and Path(file).suffix not in _SUFFIXES:
        raise Permanent(f"{file} is not a safe format; only {', '.join(sorted(_SUFFIXES))} are fetched")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    import httpx
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        if file:
            return Path(hf_hub_download(repo, file, revision=revision))
        allowed = [*_ALLOWED, _CTRANSLATE2] if ctranslate2 else [*_ALLOWED]
        return Path(snapshot_download(repo, revision=revision, allow_patterns=allowed))
    except RepositoryNotFoundError as error:
        raise Permanent(f"the hub has no {repo} that you may read; check the name, or set HF_TOKEN") from error
    except (LocalEntryNotFoundError, HfHubHTTPError, httpx.HTTPError, OSError) as error:
        raise Permanent(
            f"{source} cannot be fetched: the model hub does not answer from here ({type(error).__name__}); "
            "download the file elsewhere and give its path as `source`"
        ) from error
