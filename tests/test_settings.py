"""What the processes of a cloud are started with."""

import os
import subprocess
from pathlib import Path

import pytest

from headrace import settings


def test_a_process_imports_nothing_from_the_folder_it_is_started_in(tmp_path: Path):
    """A file of a library's name in the user's folder is not the library; the program itself is still found."""
    (tmp_path / "json.py").write_text("raise SystemExit('taken from the folder')")
    (tmp_path / "msgspec.py").write_text("raise SystemExit('taken from the folder')")
    argv = [*settings.interpreter(), "-m", "headrace.assembly", "--help"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    code = "import json, headrace.assembly, sys; print(sys.flags.safe_path, '' in sys.path)"
    done = subprocess.run([*settings.interpreter(), "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "True False\n"


@pytest.mark.parametrize("depth", [0, 20, 40, 60, 200])
@pytest.mark.parametrize("length", [5, 40, 150])
def test_every_replica_has_a_socket_of_its_own_whose_name_fits(monkeypatch, depth, length):
    """Linux takes 107 bytes; however long the home and the model's name are."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
    here = settings.Settings(home=Path("/" + "h" * depth))
    sockets = [here.engine_socket("m" * length + f"-{number}") for number in (1, 2)]
    for socket in sockets:
        assert len(os.fsencode(socket)) <= 107
        assert (socket.suffix, socket.parent.parent) == (".sock", here.run)
    assert sockets[0].parent != sockets[1].parent
