"""A foreign server's address is checked as written; its key is never in the spec."""

import msgspec
import pytest

from headrace.engines.openai import OpenAIServer
from headrace.specs.catalog import EngineSpec, ModelSpec
from tests.conftest import CAPITAL
from tests.conftest import model as model_of


def foreign(**engine: object) -> ModelSpec:
    given = {"kind": "openai", "url": "https://example.test/v1"} | engine
    return model_of("far", "chat", "", msgspec.convert(given, EngineSpec), CAPITAL)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "https://host/prefix/v1", "http://[::1]:8000"])
def test_good_addresses(url: str) -> None:
    """With and without port and prefix."""
    assert OpenAIServer().problems(foreign(url=url)) == []


@pytest.mark.parametrize(
    "url", ["", "host:80", "ftp://host", "http://", "http://h:99999", "http://user:pw@h", "http://h/?a=1", "file:///x"]
)
def test_bad_addresses_are_told(url: str) -> None:
    """One problem that names the field."""
    assert [problem.partition(" ")[0] for problem in OpenAIServer().problems(foreign(url=url))] == ["engine.url"]


def test_a_key_is_a_reference() -> None:
    """The key itself in a cloud file would be copied everywhere."""
    assert OpenAIServer().problems(foreign(api_key="env:FAR_KEY")) == []
    assert "never the key itself" in OpenAIServer().problems(foreign(api_key="sk-1234"))[0]


def test_abilities_can_be_turned_off() -> None:
    """What the server lacks is said in the spec, and only known words are taken."""
    assert OpenAIServer().ability(foreign()).tools
    assert not OpenAIServer().ability(foreign(args={"tools": False})).tools
    assert "engine.args.tool is not known" in OpenAIServer().problems(foreign(args={"tool": False}))[0]
