"""The command line in this process, against a stub of the public API."""

import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from headrace.cli.main import main
from tests.sdk.server import serving

KEY = "hr-aaaaaaaaaaaa-secret"


@dataclass(frozen=True)
class Done:
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        import json

        return json.loads(self.out)


Cli = Callable[..., Done]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, and no HEADRACE_ variable of the person who runs the tests."""
    import os

    for name in [name for name in os.environ if name.startswith("HEADRACE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def cli(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """`cli("status", "--json")`: one command; `stdin` is what is piped into it."""

    def run(*words: str, stdin: str = "") -> Done:
        monkeypatch.setattr(sys, "argv", ["headrace", *words])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        status: Any = 0
        try:
            main()
        except SystemExit as ended:
            status = ended.code
        seen = capsys.readouterr()
        return Done(status or 0, seen.out, seen.err)

    return run


@pytest.fixture
def cloud(cli: Cli, monkeypatch: pytest.MonkeyPatch):
    """A stub at HEADRACE_BASE_URL."""
    with serving() as stub:
        monkeypatch.setenv("HEADRACE_BASE_URL", f"{stub.url}/v1")
        monkeypatch.setenv("HEADRACE_API_KEY", KEY)
        yield stub
