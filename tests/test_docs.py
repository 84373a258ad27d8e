"""Nothing undocumented: every error code, metric room and link of the docs is there."""

import doctest
import re
from pathlib import Path

import pytest

from headrace.wire import fault

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("code", sorted(fault.CATALOGUE))
def test_every_error_code_is_documented(code: str):
    """A client can look up what it was told."""
    assert f"`{code}`" in (ROOT / "docs" / "api.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path):
    """No page points at one that is not there."""
    targets = re.findall(r"\]\(([^)#:]+)\)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("name", ["economics.md", "planning.md"])
def test_the_formulas_run(name: str):
    """Each example on the page gives what it says."""
    page = ROOT / "docs" / name
    failed, tried = doctest.testfile(str(page), module_relative=False)
    assert (failed, tried >= 12) == (0, True)
