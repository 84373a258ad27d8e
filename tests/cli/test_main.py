"""What holds for every command: names, help, exit statuses, errors, start-up."""

import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest

import headrace
from headrace.cli.main import COMMANDS, status_of
from headrace.errors import HeadraceError, Invalid, Permanent, Refused, Transient, Unreachable
from headrace.specs.problem import InvalidCloud, Problem
from tests.sdk.server import Answer

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / "docs" / "cli.md").read_text()


def leaves() -> dict[str, click.Command]:
    """Every command that does something, by its words."""
    found: dict[str, click.Command] = {}
    for name in COMMANDS:
        command = importlib.import_module(f"headrace.cli.{name}").command
        inner = command.commands if isinstance(command, click.Group) else {"": command}
        found.update({f"{name} {sub}".strip(): one for sub, one in inner.items()})
    return found


LEAVES = leaves()


@pytest.mark.parametrize("words", LEAVES)
def test_a_command_speaks_json_and_says_what_it_does(words: str):
    """--json everywhere; a sentence of help for the command and each of its options."""
    command = LEAVES[words]
    options = [option for option in command.params if isinstance(option, click.Option)]
    assert "--json" in [name for option in options for name in option.opts]
    assert [option.name for option in options if not option.help] == []
    assert (command.help or "").endswith((".", "`."))


@pytest.mark.parametrize("words", LEAVES)
def test_a_command_is_in_the_docs_with_all_its_options(words: str):
    """docs/cli.md has one section a command; it names each option."""
    sections = re.split(r"^##+ `?headrace ", DOCS, flags=re.MULTILINE)[1:]
    (section,) = [one for one in sections if re.match(rf"{words}(?![\w-]| [a-z])", one)]
    options = [option for option in LEAVES[words].params if isinstance(option, click.Option)]
    names = [option.opts[0] for option in options if option.opts[0] != "--json"]
    assert [name for name in names if f"`{name}" not in section] == []


def test_the_summary_of_help_is_true():
    """Each name in the list has its file, and the list is all there is."""
    files = {file.stem for file in (ROOT / "src" / "headrace" / "cli").glob("*.py")}
    assert set(COMMANDS) <= files
    assert files - set(COMMANDS) == {
        "__init__",
        "main",
        "rolled",
        "shown",
        "talk",
        "local",
        "lived",
        "planned_shown",
        "simulated_shown",
        "traced",
        "dollars",
        "files",
        "parquet",
    }


def test_the_version_is_that_of_the_package(cli):
    """One number, said in two places that agree."""
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert headrace.__version__ == told
    assert cli("--version").out == f"headrace {told}\n"


def test_the_version_loads_nothing_heavy():
    """What makes `headrace --version` quick; bench/startup.py measures it."""
    program = "import sys, headrace.cli.main; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"msgspec", "http.client", "ruamel.yaml", "structlog", "asyncio", "apsw", "ssl", "headrace.assembly"}
    assert heavy & set(loaded) == set()


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (HeadraceError("x"), 1),
        (Transient("x"), 1),
        (Permanent("x"), 1),
        (Invalid("x"), 2),
        (InvalidCloud([Problem(where="c:1:1", path="", message="x")]), 3),
        (Invalid("x", code="does_not_fit", status=422), 3),
        (Invalid("x", status=404), 4),
        (Invalid("x", status=409, code="conflict"), 1),
        (Refused("x", status=429, code="x"), 5),
        (Unreachable("x"), 6),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, HeadraceError) else str(value),
)
def test_the_exit_status_says_what_to_do(error: HeadraceError, status: int):
    """As docs/cli.md lists them."""
    assert status_of(error) == status
    assert f"| {status} |" in DOCS


def test_a_mistyped_command_is_a_usage_error_with_a_suggestion(cli):
    """Exit 2, on standard error."""
    done = cli("stauts")
    assert (done.status, done.out) == (2, "")
    assert "Did you mean 'status'?" in done.err


def test_a_usage_error_is_an_object_for_programs(cli):
    """As every other error is with --json."""
    done = cli("replicas", "--json", "--colour", "red")
    assert done.status == 2
    assert done.err == '{"error": {"message": "No such option \'--colour\'.", "status": 2}}\n'


def test_a_rollout_of_no_version_is_told_how_to_write_one(cli):
    done = cli("model", "deploy", "chat")
    assert (done.status, "write it like chat@v2" in done.err) == (2, True)


def test_an_unknown_option_is_a_usage_error(cli):
    """Exit 2."""
    assert cli("status", "--colour").status == 2


def test_no_cloud_here_is_told_with_the_command_that_starts_one(cli):
    """Exit 6."""
    done = cli("status")
    assert (done.status, done.out) == (6, "")
    assert "headrace up" in done.err


def test_nobody_at_the_address_is_unreachable(cli, monkeypatch):
    """Exit 6, with the address."""
    monkeypatch.setenv("HEADRACE_BASE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("HEADRACE_API_KEY", "hr-x")
    done = cli("status")
    assert done.status == 6
    assert "http://127.0.0.1:1" in done.err


def test_the_homes_key_is_not_sent_elsewhere(cli, home, cloud, monkeypatch):
    """A foreign address needs a key of its own."""
    home.mkdir()
    (home / "credentials").write_text("hr-operator-key")
    monkeypatch.delenv("HEADRACE_API_KEY")
    done = cli("status")
    assert (done.status, cloud.heard) == (5, [])
    assert "HEADRACE_API_KEY" in done.err


def test_the_home_says_where_its_cloud_listens_and_with_which_key(cli, home, cloud, monkeypatch):
    """On this machine nothing need be set."""
    monkeypatch.delenv("HEADRACE_API_KEY")
    monkeypatch.delenv("HEADRACE_BASE_URL")
    home.mkdir()
    (home / "listen").write_text(cloud.url.removeprefix("http://"))
    (home / "credentials").write_text("hr-operator-key\n")
    cloud.answers["GET /headrace/v1/replicas"] = Answer({"replicas": []})
    assert cli("replicas", "--json").json == {"replicas": []}
    assert cloud.heard[0].headers["authorization"] == "Bearer hr-operator-key"


def test_a_refusal_is_told_in_the_servers_words(cli, cloud):
    """Exit 5, plain without a terminal; with --json an object on standard error."""
    body = {"error": {"message": "needs a key of role admin", "type": "t", "param": None, "code": "permission_denied"}}
    cloud.answers["GET /headrace/v1/replicas"] = Answer(body, 403)
    done = cli("replicas")
    assert (done.status, done.out, done.err) == (5, "", "error: needs a key of role admin\n")
    assert cli("replicas", "--json").err == '{"error": {"message": "needs a key of role admin", "status": 5}}\n'


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script(cli, shell):
    """For each of three shells."""
    assert "_HEADRACE_COMPLETE" in cli("completion", shell).out


def test_python_dash_m_works():
    """`python -m headrace` is the command too."""
    done = subprocess.run([sys.executable, "-m", "headrace", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"headrace {headrace.__version__}\n"
