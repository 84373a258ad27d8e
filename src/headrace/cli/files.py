"""Files in and out of commands that ask models of pictures and sound, and the line that closes them."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from headrace.errors import Invalid, Permanent
from headrace.sdk.client import Got


def read(path: Path) -> bytes:
    """A file's bytes. Raises Invalid with the path."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise Invalid(f"{path} cannot be read: {error.strerror}") from None


def write(path: Path, data: bytes, *, force: bool) -> None:
    """Put bytes in a file; one that is there stays, unless `force`."""
    try:
        with path.open("wb" if force else "xb") as file:
            file.write(data)
    except FileExistsError:
        raise Invalid(f"{path} is there already; give another -o FILE, or --force") from None
    except OSError as error:
        raise Permanent(f"{path} cannot be written: {error.strerror}") from None


def vacant(path: Path, *, force: bool) -> None:
    """Refuse before anything is paid for what could not be written. Raises Invalid."""
    if path.exists() and not force:
        raise Invalid(f"{path} is there already; give another -o FILE, or --force")
    if not path.absolute().parent.is_dir():
        raise Invalid(f"the folder {path.parent} is not there; make it, or give another -o FILE")


def took(ask: Callable[[], Got]) -> tuple[Got, dict[str, Any]]:
    """An answer, and what it took: seconds, cost, replica, request."""
    start_s = time.monotonic()
    got = ask()
    return got, {
        "seconds": round(time.monotonic() - start_s, 3),
        "cost": got.headers.get("x-headrace-cost", ""),
        "replica": got.headers.get("x-headrace-replica", ""),
        "request": got.headers.get("x-request-id", ""),
    }


def closing(amount: str, facts: dict[str, Any]) -> str:
    """The one line after an answer."""
    cost = f"${facts['cost']} · " if facts["cost"] else ""
    return click.style(
        f"─ {amount} · {facts['seconds']:.2f} s · {cost}replica {facts['replica']}   "
        f"explain: headrace explain {facts['request']}",
        dim=True,
    )
