"""Headrace: the open-source inference cloud that people run themselves."""

from typing import Final

__version__: Final = "0.1.0"  # pyproject.toml carries the same; a test compares them
