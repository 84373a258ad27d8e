"""Every command of the README, run against a real cloud."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.cloud import Cloud

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

README = (Path(__file__).parents[2] / "README.md").read_text()
COMMANDS = re.findall(r"^headrace .*$", README, re.MULTILINE)
(PROGRAM,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("readme")


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_readme_works(cloud: Cloud, folder: Path, line: str):
    """Exit status 0, and something on the screen; in one folder, in order, as they build on each other."""
    _, *words = shlex.split(line)
    assert cloud.run(*words, cwd=folder).stdout.strip()


def test_the_readmes_program_prints_an_answer(cloud: Cloud, tmp_path: Path):
    """The Python of the README, with this cloud's address and key."""
    file = tmp_path / "readme.py"
    file.write_text(PROGRAM.replace("http://127.0.0.1:8780", cloud.url))
    env = {**cloud.env, "HEADRACE_API_KEY": cloud.key}
    done = subprocess.run([sys.executable, file], env=env, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip()


def test_the_readme_has_commands():
    """The test above tests something."""
    assert len(COMMANDS) >= 10
