"""Headrace: the open-source inference cloud that people run themselves."""

from typing import Any, Final

__version__: Final = "0.1.0"  # pyproject.toml carries the same; a test compares them
_ASKING: Final = "pipeline step chat embed rerank image upscale transcribe speak load keep"
_AUTHORS: Final = dict.fromkeys(_ASKING.split(), "author") | dict.fromkeys(("agent", "tool"), "functions")


def __getattr__(name: str) -> Any:
    """What pipelines are written with, loaded when it is asked for: `from headrace import pipeline, step`."""
    if name not in _AUTHORS:
        raise AttributeError(f"module 'headrace' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"headrace.pipelines.{_AUTHORS[name]}"), name)
