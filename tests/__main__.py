"""`python -m tests`: the linters, then every test; what `make test` runs."""

import subprocess
import sys
from pathlib import Path

BIN = Path(sys.executable).parent
PYTEST = [sys.executable, "-m", "pytest", "-n", "2", "--dist", "loadfile", "-q"]


def main() -> int:
    steps = [
        ("ruff", [BIN / "ruff", "check", "src", "tests", "bench", "training"]),
        ("format", [BIN / "ruff", "format", "--check", "src", "tests", "bench", "training"]),
        ("types", [BIN / "mypy"]),
        ("layers", [BIN / "lint-imports", "--no-cache"]),
        ("units and contracts", [*PYTEST, "--ignore", "tests/e2e"]),
        ("end to end", [*PYTEST, "tests/e2e"]),  # alone: its clouds and its clocks want the machine
    ]
    for name, argv in steps:
        print(f"== {name}", flush=True)
        code = subprocess.run([str(word) for word in argv]).returncode
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
