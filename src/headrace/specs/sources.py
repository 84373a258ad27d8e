"""Where a model's weights come from, as a cloud file says it; used by `specs.load`. Pure: it opens nothing."""

from collections.abc import Callable
from typing import Final

from headrace.specs.problem import shown

Path = tuple[str, ...]
Note = Callable[[Path, str], None]
SCHEMES: Final = ("package://", "hf://", "file:///", "http://", "https://")


def source(given: str, folder: str, path: Path, note: Note) -> str:
    """The source, a relative path made absolute in `folder`, which is "" where nobody knows it."""
    if given.startswith(("http://", "https://")):
        note(path, "is an address; weights come from package://, hf:// or file:///, servers need kind openai")
        return given
    if ":" not in given and not given.startswith(("/", "~")):
        if folder:
            return _joined(folder, given)
        note(path, f"is {shown(given)}, and from where is not known here; write package://..., or /PATH")
    elif not given.startswith((*SCHEMES, "/")) or any(part == ".." for part in given.split("/")):
        note(
            path,
            f"is {shown(given)}; write package://PACKAGE/PATH, hf://ORG/NAME[@REVISION], file:///PATH or PATH",
        )
    return given


def _joined(folder: str, relative: str) -> str:
    """A relative path as an absolute one, like a shell that stands in the folder.

    >>> _joined("/srv/cloud", "../weights/./a.gguf"), _joined("/", "a")
    ('/srv/weights/a.gguf', '/a')
    """
    parts: list[str] = []
    for part in f"{folder}/{relative}".split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)
