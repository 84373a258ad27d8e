"""The table as one worker looks things up in it: models by name, replicas by id, and what a key may use."""

from typing import NamedTuple

import msgspec

from headrace.economics.prices import Book
from headrace.errors import Invalid
from headrace.gateway.film_server import FilmServer
from headrace.gateway.upstream import Pool
from headrace.state.table import RouteKey, RouteModel, RouteReplica, Table
from headrace.wire.fault import suggestion


class StandIn(NamedTuple):
    """A model that may answer for another: by its weights, or `pinned` to this version."""

    model: RouteModel
    pinned: bool

    @property
    def name(self) -> str:
        """As the cloud file names it."""
        return f"{self.model.name}@{self.model.version}" if self.pinned else self.model.name


class Directory:
    """Rebuilt with each table; pools of replicas that stay are kept."""

    def __init__(self) -> None:
        self.table = Table(revision=0, models=(), replicas=(), keys=())
        self.models: dict[str, list[RouteModel]] = {}
        self.pools: dict[tuple[str, str], Pool] = {}
        self.shadows: dict[str, RouteModel] = {}
        self.book = Book(())

    def update(self, table: Table) -> None:
        """Take a new table."""
        self.table = table
        self.book = Book(table.prices)
        self.models = {}
        for model in table.models:
            self.models.setdefault(model.name, []).append(model)
        self.shadows = {model.name: model for model in table.models if model.shadow}
        pools: dict[tuple[str, str], Pool] = {}
        for replica in table.replicas:
            name = (replica.id, replica.incarnation)
            kept = self.pools.pop(name, None)
            pools[name] = kept if kept is not None and kept.replica == replica else self._pool(replica)
        for gone in self.pools.values():
            gone.close()
        self.pools = pools

    def _pool(self, replica: RouteReplica) -> Pool:
        """How it is talked to: foreign servers make films as jobs, all others answer what they are asked."""
        versions = [model for model in self.models.get(replica.model, ()) if model.version == replica.version]
        foreign = any(model.task == "video" and model.ability.dialect != "headrace" for model in versions)
        return FilmServer(replica) if foreign else Pool(replica)

    def usable(self, key: RouteKey) -> list[str]:
        """Names of the models this key may use."""
        return [name for name in self.models if "*" in key.models or name in key.models]

    def find(self, name: str, key: RouteKey, task: str, also: tuple[str, ...] = ()) -> RouteModel:
        """The version that `name@version` names; for a name alone, the first one. Raises Invalid (404, 400).

        `also` are tasks beside `task` that will do.
        """
        asked, (name, at, version) = name, name.partition("@")
        versions = self.models.get(name)
        usable = self.usable(key) if versions is None or "*" not in key.models else []
        if versions is None or ("*" not in key.models and name not in usable):
            listed = ", ".join(usable) or "none"
            raise Invalid(
                f"The model {asked[:80]!r} does not exist or this key may not use it."
                f"{suggestion(name, usable)} Models this key may use: {listed}.",
                param="model",
                code="model_not_found",
                status=404,
            )
        if task and versions[0].task != task and versions[0].task not in also:
            fitting = [other for other in self.usable(key) if self.models[other][0].task in (task, *also)] or ["none"]
            raise Invalid(
                f"The model {name!r} is for {versions[0].task}, and this path needs a model for {task}: "
                f"{', '.join(fitting)}.",
                param="model",
                code="unsupported_endpoint",
            )
        if not at:
            return versions[0]
        named = next((model for model in versions if model.version == version), None)
        if named is None:
            there = ", ".join(f"{name}@{model.version}" for model in versions)
            raise Invalid(
                f"The model {name!r} has no version {version[:80]!r}. It has: {there}.",
                param="model",
                code="model_not_found",
                status=404,
            )
        return named

    def stand_ins(self, model: RouteModel, key: RouteKey, asked: str) -> list[StandIn]:
        """Who may answer where `model` cannot, in order; nobody for a client that named a version."""
        if not model.fallback or "@" in asked:
            return []
        usable, found = self.usable(key), []
        for name, at, version in (one.partition("@") for one in model.fallback):
            versions = self.models[name] if name in usable else []
            other = next((each for each in versions if not at or each.version == version), None)
            if other is not None and other.task == model.task:
                found.append(StandIn(other, pinned=bool(at)))
        return found

    def listing(self, key: RouteKey) -> list[dict[str, object]]:
        """The models of `GET /v1/models`."""
        return [self.entry(name) for name in self.usable(key)]

    def entry(self, name: str) -> dict[str, object]:
        """One model, in OpenAI's form with a few keys more."""
        versions = self.models[name]
        first = versions[0]
        media = {} if first.ability.media is None else {"media": first.ability.media}
        return {
            "id": name,
            "object": "model",
            "created": first.created_s,
            "owned_by": "headrace",
            "task": first.task,
            "state": first.state,
            "context_length": first.context_tokens,
            "versions": [{"name": version.version, "weight": version.weight} for version in versions],
            **media,
        }


def read_table(data: bytes) -> Table:
    """A table from its JSON. Raises msgspec.MsgspecError."""
    return msgspec.json.decode(data, type=Table)
