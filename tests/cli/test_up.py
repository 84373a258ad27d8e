"""What `headrace up` says first."""

from pathlib import Path

from headrace.cli.up import banner
from headrace.settings import Settings
from headrace.specs.load import load_text

DEFAULT = Path(__file__).parents[2] / "src" / "headrace" / "specs" / "default.yaml"


def test_the_first_thing_to_try_is_a_model_that_answers(tmp_path: Path):
    """Not one that reads pictures, though both are chat models; and every model is named."""
    catalog = load_text(DEFAULT.read_text(), machine=(8 << 30, 2))
    said = banner(Settings(home=tmp_path), "hr-key", catalog, detached=False)
    assert 'headrace run smollm2 "What is the capital of France?"' in said
    assert '"model": "smollm2"' in said
    assert all(f"{name} (" in said for name in catalog.names())
