"""One frozen `Settings`: how this process runs, where the cloud file says what is wanted.

The environment is read here and nowhere else. Flags of the command line win over the environment.
Ten names at most, all with the prefix HEADRACE_.
"""

import hashlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from headrace.errors import Invalid

DEFAULT_LISTEN: Final = "127.0.0.1:8780"
_SUN_PATH_MAX_BYTES: Final = 107  # Linux sockaddr_un, less the closing zero
_LONGEST_SOCKET_NAME: Final = 30  # "engine-", 16 hex digits, "/e.sock"


@dataclass(frozen=True, slots=True)
class Settings:
    """home: folder of all state. listen: HOST:PORT of the public door. gateways: worker processes, >= 1.

    base_url and api_key serve the CLI and SDK only. log_level: debug, info, warning or error. tool_hosts: HOST or
    HOST:PORT that tools of agents may reach although their addresses are not public. objects: s3://BUCKET or
    s3://BUCKET/PREFIX for the bytes of files, videos and large results of steps; empty for folders of the home.
    """

    home: Path
    listen: str = DEFAULT_LISTEN
    gateways: int = 1
    log_level: str = "info"
    base_url: str = ""
    api_key: str = ""
    tool_hosts: tuple[str, ...] = ()
    objects: str = ""

    @property
    def host(self) -> str:
        """The address part of `listen`, brackets of IPv6 removed."""
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port part of `listen`."""
        return int(self.listen.rpartition(":")[2])

    @property
    def database(self) -> Path:
        """SQLite file of the state; written by the controller alone."""
        return self.home / "headrace.db"

    @property
    def journals(self) -> Path:
        """Folder of the gateways' usage journals."""
        return self.home / "journal"

    @property
    def backups(self) -> Path:
        """Folder of copies of the database."""
        return self.home / "backups"

    @property
    def witness(self) -> Path:
        """Hashes of the ledger's chain, noted outside the database."""
        return self.home / "witness"

    @property
    def repeats(self) -> Path:
        """Folder of answers kept for an Idempotency-Key."""
        return self.home / "repeats"

    @property
    def artifacts(self) -> Path:
        """Folder of prepared weights, one sub-folder a digest."""
        return self.home / "artifacts"

    @property
    def logs(self) -> Path:
        """Folder of log files."""
        return self.home / "logs"

    @property
    def pepper(self) -> Path:
        """The secret that keys are hashed with; mode 0600, outside the database."""
        return self.home / "pepper"

    @property
    def credentials(self) -> Path:
        """The local operator's key, mode 0600: what the CLI uses on this machine."""
        return self.home / "credentials"

    @property
    def run(self) -> Path:
        """Folder of sockets and pid files, mode 0700; short enough for a unix socket's name."""
        inside = self.home / "run"
        if len(os.fsencode(inside)) + 1 + _LONGEST_SOCKET_NAME <= _SUN_PATH_MAX_BYTES:
            return inside
        digest = hashlib.sha256(os.fsencode(self.home)).hexdigest()[:12]
        return Path(os.environ.get("XDG_RUNTIME_DIR") or "/tmp") / f"headrace-{os.getuid()}-{digest}"  # noqa: S108 - made 0700 and checked for its owner

    @property
    def host_socket(self) -> Path:
        """Where the process host listens: the local substrate's other half."""
        return self.run / "host.sock"

    @property
    def link_socket(self) -> Path:
        """Where the controller pushes tables to gateways and hears demand."""
        return self.run / "link.sock"

    @property
    def admin_socket(self) -> Path:
        """Where the admin API listens; gateways relay /headrace/ and /metrics to it."""
        return self.run / "admin.sock"

    @property
    def pipelines(self) -> Path:
        """Folder of the runs of pipelines: their journal, large results, and pipelines in Python."""
        return self.home / "pipelines"

    @property
    def jobs(self) -> Path:
        """Folder of files, batches and videos: their records, their bytes, and what is at work."""
        return self.home / "jobs"

    @property
    def pipelines_socket(self) -> Path:
        """Where the runner of pipelines listens; gateways relay to it what they have proven."""
        return self.run / "pipelines.sock"

    def engine_socket(self, replica: str) -> Path:
        """Where a replica listens: alone in a folder, so that it can be kept from the sockets of others.

        The folder has the replica's name, or a digest of it where that would be too long for a socket.
        """
        named = self.run / f"engine-{replica}" / "e.sock"
        if len(os.fsencode(named)) <= _SUN_PATH_MAX_BYTES:
            return named
        return self.run / f"engine-{hashlib.sha256(replica.encode()).hexdigest()[:16]}" / "e.sock"

    @property
    def table_file(self) -> Path:
        """The last table the controller published: what a gateway starts from while the controller is away."""
        return self.run / "table.json"

    @property
    def counters_file(self) -> Path:
        """Counters the gateways share: in-flight and rate windows, one column a worker."""
        return self.run / "counters"

    @property
    def shares_file(self) -> Path:
        """What the gateways tell each other of what tenants were served, so that shares are fair over all of them."""
        return self.run / "shares"


def load(*, home: str | None = None, listen: str | None = None, gateways: int | None = None) -> Settings:
    """Settings from the environment, overridden by what is given.

    Raises Invalid when a value cannot be used; the message names the variable and the fix.
    """
    env = os.environ
    workers = gateways if gateways is not None else _whole(env, "HEADRACE_GATEWAYS", min(os.cpu_count() or 1, 4))
    if not 1 <= workers <= 64:
        raise Invalid(f"HEADRACE_GATEWAYS is {workers}; give a whole number from 1 to 64")
    level = env.get("HEADRACE_LOG_LEVEL", "info")
    if level not in ("debug", "info", "warning", "error"):
        raise Invalid(f"HEADRACE_LOG_LEVEL is {level!r}; give debug, info, warning or error")
    folder = Path(home or env.get("HEADRACE_HOME") or _default_home()).expanduser().absolute()
    return Settings(
        home=folder,
        listen=_address(listen or env.get("HEADRACE_LISTEN") or _last_listen(folder) or DEFAULT_LISTEN),
        gateways=workers,
        log_level=level,
        base_url=env.get("HEADRACE_BASE_URL", ""),
        api_key=env.get("HEADRACE_API_KEY", ""),
        tool_hosts=tuple(filter(None, env.get("HEADRACE_TOOL_HOSTS", "").replace(",", " ").split())),
        objects=_bucket(env.get("HEADRACE_OBJECTS", "")),
    )


def secret(reference: str) -> str:
    """The text behind `env:NAME` or `file:PATH`. Raises Invalid that names the reference, never the text."""
    kind, _, name = reference.partition(":")
    if kind == "env":
        text = os.environ.get(name)
        if text is None:
            raise Invalid(f"{reference} is not set; export {name} where headrace is started")
        return text
    if kind == "file":
        try:
            return Path(name).expanduser().read_text().strip()
        except OSError as error:
            raise Invalid(f"{reference} cannot be read: {error.strerror}") from None
    raise Invalid(f"{reference!r} is not a reference to a secret; write env:NAME or file:PATH")


def interpreter() -> list[str]:
    """The command that starts another process of this program: no PYTHON* variables, no user site, no own folder."""
    return [sys.executable, "-E", "-s", "-P"]


def _default_home() -> str:
    # The XDG rule by hand: importing platformdirs costs 15 ms of every CLI call.
    return os.path.join(os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share"), "headrace")


def _last_listen(home: Path) -> str | None:
    """Where the cloud of this home listens or last listened, so that the CLI finds it without being told."""
    try:
        return (home / "listen").read_text().strip() or None
    except OSError:
        return None


def _address(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or not 0 <= int(port) <= 65535:
        raise Invalid(f"{text!r} is not an address to listen on; give HOST:PORT like {DEFAULT_LISTEN}")
    return text


def _bucket(text: str) -> str:
    if text and not text.startswith("s3://"):
        raise Invalid(f"HEADRACE_OBJECTS is {text!r}; give s3://BUCKET or s3://BUCKET/PREFIX, or leave it out")
    return text


def _whole(env: "os._Environ[str]", name: str, default: int) -> int:
    text = env.get(name)
    if text is None:
        return default
    if not text.isdigit():
        raise Invalid(f"{name} is {text!r}; give a whole number")
    return int(text)
