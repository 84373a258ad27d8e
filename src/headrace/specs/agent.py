"""What an agent in YAML may call: other servers and other pipelines, each with its bounds. Pure.

The host of an http tool stands in the file, never in what a model writes; which hosts may be reached at all is the
operator's to say (`pipelines/web.py`).
"""

import re
from typing import Annotated, Any, Final, Literal

import msgspec

from headrace.errors import Invalid
from headrace.units import duration_us, nanousd

_NAME: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9_]{0,63}")
_URL: Final = re.compile(r"(https?)://([^/?#{}\s@]+)(/[^\s#]*)?")
_HOLE: Final = re.compile(r"\{([a-zA-Z0-9_]*)\}")
PARAMETERS_MAX: Final = 32
FRAMING: Final = frozenset({"host", "connection", "content-length", "transfer-encoding", "expect", "upgrade"})
TOOLS_MAX: Final = 32


class Http(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A request to a server. `{name}` in the path or the query of the URL is an argument; the others are the query of
    a GET, the JSON body of the rest.
    """

    url: str
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    headers: dict[str, str] = {}

    @property
    def holes(self) -> frozenset[str]:
        """The arguments that the URL takes."""
        return frozenset(_HOLE.findall(self.url))


class ToolSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One tool: exactly one of http, pipeline (the name of a deployed one), and mcp (the URL of a server of tools).

    `parameters` are JSON schemas by name; all are required but those in `optional`. An MCP server says itself what its
    tools are; `only` chooses among them.
    """

    http: Http | None = None
    pipeline: str | None = None
    mcp: str | None = None
    headers: dict[str, str] = {}
    only: tuple[str, ...] = ()
    description: str = ""
    parameters: dict[str, dict[str, Any]] = {}
    optional: tuple[str, ...] = ()
    timeout: str = "10s"
    retries: Annotated[int, msgspec.Meta(ge=0, le=10)] = 0
    repeat: bool | None = None
    result_chars: Annotated[int, msgspec.Meta(ge=1, le=65_536)] = 4_096
    on_error: Literal["tell", "fail"] = "tell"
    cost: str | float | None = None

    @property
    def timeout_us(self) -> int:
        """The most one attempt may take."""
        return duration_us(self.timeout)

    @property
    def cost_nanousd(self) -> int | None:
        """The most a pipeline may cost that is called as a tool."""
        return None if self.cost is None else nanousd(self.cost)

    @property
    def repeats(self) -> bool:
        """Whether it may be done again when nobody knows whether it was: what reads may, and a pipeline is one run."""
        if self.repeat is not None:
            return self.repeat
        return self.pipeline is not None or (self.http is not None and self.http.method == "GET")

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON schema of its arguments."""
        required = [name for name in self.parameters if name not in self.optional]
        return {"type": "object", "properties": self.parameters, "required": required, "additionalProperties": False}


def check(name: str, tool: ToolSpec) -> None:
    """Raises ValueError that says what is wrong with a tool, and how to mend it."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"tool {name[:60]!r} cannot be a name; use letters, digits and _")
    if sum(kind is not None for kind in (tool.http, tool.pipeline, tool.mcp)) != 1:
        raise ValueError(f"tool {name}: give exactly one of http, pipeline and mcp")
    if tool.mcp is not None:
        if tool.description or tool.parameters:
            raise ValueError(
                f"tool {name}: an MCP server describes its tools itself; leave out description, parameters"
            )
        _where(name, tool.mcp)
    elif not tool.description:
        raise ValueError(f"tool {name}: give a `description`; it is all that the model knows of it")
    if len(tool.parameters) > PARAMETERS_MAX:
        raise ValueError(f"tool {name}: {len(tool.parameters)} parameters; {PARAMETERS_MAX} is the most")
    for word in tool.optional:
        if word not in tool.parameters:
            raise ValueError(f"tool {name}: optional {word!r} is none of its parameters")
    try:
        if tool.timeout_us <= 0 or (tool.cost_nanousd or 1) <= 0:
            raise ValueError("timeout and cost must be above 0")
    except ValueError as error:
        raise ValueError(f"tool {name}: {error}") from None
    if tool.http is not None:
        _http(name, tool, tool.http)
    for field, value in {**tool.headers, **(tool.http.headers if tool.http is not None else {})}.items():
        if (
            field.lower() in FRAMING
            or not re.fullmatch(r"[a-zA-Z0-9-]{1,64}", field)
            or not re.fullmatch(r"[\x20-\x7e]{0,1024}", value)
        ):
            raise ValueError(f"tool {name}: the header {field[:60]!r} cannot be sent")


def _http(name: str, tool: ToolSpec, http: Http) -> None:
    _where(name, http.url)
    for word in sorted(http.holes - {word for word in tool.parameters if word not in tool.optional}):
        raise ValueError(f"tool {name}: the URL takes {word!r}; give it among `parameters`, not optional")


def _where(name: str, url: str) -> None:
    if not _URL.fullmatch(url):
        raise ValueError(
            f"tool {name}: {url[:80]!r} is not a URL whose host stands in it; write https://HOST/PATH/{{parameter}}"
        )


def host_of(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of a checked URL.

    >>> host_of("https://api.example.org/orders/{order}"), host_of("http://[::1]:8000/x")
    (('https', 'api.example.org', 443), ('http', '::1', 8000))
    """
    match = _URL.match(url)
    if match is None:
        raise Invalid(f"{url[:80]!r} is not a URL")
    scheme, where = match[1], match[2]
    host, colon, port = where.rpartition(":")
    if not colon or not port.isdigit():
        host, port = where, "443" if scheme == "https" else "80"
    return scheme, host.strip("[]").lower(), int(port)
