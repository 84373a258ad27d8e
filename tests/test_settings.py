"""What the processes of a cloud are started with."""

import subprocess
from pathlib import Path

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
