"""Secrets cannot be printed, copied out or serialised by accident; logs are one JSON object a line."""

import json
import pickle
import subprocess
import sys

import pytest

from headrace.telemetry import Secret

TEXT = "hr-canary-that-must-not-be-seen"
PROGRAM = f"""
from headrace import telemetry
telemetry.configure("probe")
telemetry.logger().info("key.used", key=telemetry.Secret({TEXT!r}), count=2)
"""


@pytest.mark.parametrize("shown", [str, repr, "{}".format, lambda secret: f"{[secret]}"])
def test_a_secret_prints_as_stars(shown):
    """However it is turned into text, the secret is not in it."""
    assert TEXT not in shown(Secret(TEXT))


def test_a_secret_is_revealed_on_purpose_and_compared_by_its_text():
    """`reveal` is the one way to it."""
    assert Secret(TEXT).reveal() == TEXT
    assert Secret(TEXT) == Secret(TEXT)
    assert Secret(TEXT) != Secret("other")


def test_a_secret_is_not_serialised():
    """It does not leave the process inside something else."""
    with pytest.raises(TypeError, match="not serialised"):
        pickle.dumps(Secret(TEXT))


def test_a_log_line_is_json_names_its_process_and_hides_secrets():
    """What a collector reads from standard error."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    (line,) = done.stderr.splitlines()
    said = json.loads(line)
    assert (said["process"], said["event"], said["count"]) == ("probe", "key.used", 2)
    assert TEXT not in line
