"""A foreign server that speaks OpenAI's API: routed to, never started. vLLM, SGLang, TGI, Ollama, llama-server.

Made by assembly. `prepare` and `command` refuse: there is nothing to prepare and no process to run; the controller
asks `ModelSpec.owned` first.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from headrace.errors import Permanent
from headrace.ports import Artifact, Command
from headrace.specs.catalog import ModelSpec
from headrace.state.table import Ability

_REFERENCES = ("env:", "file:")


class OpenAIServer:
    """Replicas that Headrace does not own. What they can do is taken on trust, as OpenAI describes it."""

    kind = "openai"

    def ability(self, model: ModelSpec) -> Ability:
        """Everything OpenAI's API has, unless `engine.args` turns a part off, e.g. `{tools: false}`."""
        args = model.engine.args
        chat = model.task == "chat"
        return Ability(
            dialect="openai",
            stream=chat,
            json_schema=chat and bool(args.get("json_schema", True)),
            tools=chat and bool(args.get("tools", True)),
            logprobs=chat and bool(args.get("logprobs", True)),
            n=chat and bool(args.get("n", True)),
            completions=chat and bool(args.get("completions", True)),
        )

    def problems(self, model: ModelSpec) -> list[str]:
        """Whether the address can be one; the server itself is not asked."""
        engine = model.engine
        found = []
        if reason := _url_problem(engine.url):
            found.append(reason)
        if engine.api_key and not engine.api_key.startswith(_REFERENCES):
            found.append("engine.api_key must be a reference, env:NAME or file:PATH, never the key itself")
        known = {"json_schema", "tools", "logprobs", "n", "completions"}
        found.extend(
            f"engine.args.{name} is not known; give some of {sorted(known)}" for name in {*engine.args} - known
        )
        return found

    def prepare(self, model: ModelSpec, artifacts: Path, say: Callable[[str], None]) -> Artifact:  # noqa: ARG002 - the signature is the port's
        """Refuses: there are no weights here."""
        _foreign(model)

    def command(self, model: ModelSpec, artifact: Artifact, address: str, port: int) -> Command:  # noqa: ARG002 - the signature is the port's
        """Refuses: there is no process here."""
        _foreign(model)


def _foreign(model: ModelSpec) -> NoReturn:
    raise Permanent(f"{model.key} is served by {model.engine.url}; Headrace neither prepares nor starts it")


def _url_problem(url: str) -> str:
    try:
        parts = urlsplit(url)
        port_ok = parts.port is None or parts.port > 0
    except ValueError:
        return f"engine.url {url!r} is not an address; write it http://HOST:PORT or https://HOST/PREFIX"
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_ok:
        return f"engine.url {url!r} is not an address; write it http://HOST:PORT or https://HOST/PREFIX"
    if parts.username or parts.password or parts.query or parts.fragment:
        return "engine.url must not carry a user, a password, a query or a fragment; give the key as engine.api_key"
    return ""
