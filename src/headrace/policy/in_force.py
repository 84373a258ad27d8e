"""The catalog in force: what the cloud file says, and over it what rollouts have made of its versions.

The file stays what its owner wrote; a rollout lays its candidate and its weights over it, until the file itself says
something else about that model. Pure.
"""

from collections.abc import Mapping

import msgspec

from headrace.policy import rollout as policy
from headrace.specs.catalog import Catalog, ModelSpec
from headrace.state.rollout import Rollout


def catalog(declared: Catalog, rollouts: Mapping[str, Rollout]) -> Catalog:
    """What both brains work with. `rollouts` are by model name; those of models that are gone do nothing."""
    if not rollouts and all(model.weight for model in declared.models):
        return declared
    models: list[ModelSpec] = []
    for name in declared.names():
        versions = of(declared, name)
        rollout = rollouts.get(name)
        models.extend(_laid_over(versions, rollout) if rollout else map(_asleep, versions))
    return msgspec.structs.replace(declared, models=tuple(sorted(models, key=lambda model: model.key)))


def of(declared: Catalog, name: str) -> list[ModelSpec]:
    """The versions of one model."""
    return [model for model in declared.models if model.name == name]


def stands(rollout: Rollout, before: Catalog, after: Catalog) -> bool:
    """Whether a rollout goes on when the file changes: it says the same of this model, or adds just this candidate.

    One that is over stands only while the file is the same: who writes down what is served is believed.
    """
    old, new = _told(before, rollout.model), _told(after, rollout.model)
    if old == new:
        return bool(new)
    if not rollout.under_way:
        return False
    weightless = {key: msgspec.structs.replace(model, weight=0) for key, model in new.items()}
    same = {key: msgspec.structs.replace(model, weight=0) for key, model in old.items()}
    candidate = weightless.pop(rollout.candidate, None)
    same.pop(rollout.candidate, None)
    return bool(new) and weightless == same and (candidate is None or candidate.digest == rollout.spec.digest)


def _told(declared: Catalog, name: str) -> dict[str, ModelSpec]:
    return {model.version: model for model in of(declared, name)}


def _laid_over(versions: list[ModelSpec], rollout: Rollout) -> list[ModelSpec]:
    known = {model.version: model for model in versions}
    known.setdefault(rollout.candidate, rollout.spec)
    weights = policy.weights(rollout)
    return [_version(model, rollout, weights.get(version, 0)) for version, model in known.items()]


def _asleep(model: ModelSpec) -> ModelSpec:
    """A version without traffic needs no minimum: it sleeps until it is named."""
    if model.weight or not model.scaling.min_replicas:
        return model
    return msgspec.structs.replace(model, scaling=msgspec.structs.replace(model.scaling, min_replicas=0))


def _version(model: ModelSpec, rollout: Rollout, weight: int) -> ModelSpec:
    """One version with its weight and its numbers of replicas.

    1. Both are kept awake while they are compared; but for a candidate that takes the place of the only one. The new
       one has replicas for the share that comes next before it comes.
    2. Where there is no spare device, the other versions leave one replica's place to it, if they have two.
    3. A version without traffic needs no minimum; it sleeps when it has been idle. One that was promoted keeps what
       its share needed until its own work tells.
    """
    scaling = model.scaling
    promoted = rollout.phase == "promoted" and model.version == rollout.candidate
    both = model.version == rollout.candidate or (model.version == rollout.stable and not policy.given_up(rollout))
    if (both and rollout.under_way) or (promoted and rollout.replicas > 1):  # 1.
        least = policy.needed(rollout) if model.version == rollout.candidate else 1
        least = max(min(least, scaling.max_replicas), 1, scaling.min_replicas)
        scaling = msgspec.structs.replace(scaling, min_replicas=least)
    if model.version == rollout.stable and rollout.leave and rollout.under_way:
        most = min(scaling.max_replicas, rollout.leave)  # 2.
        scaling = msgspec.structs.replace(scaling, max_replicas=most, min_replicas=min(scaling.min_replicas, most))
    copied = rollout.shadow if rollout.phase == "shadow" and model.version == rollout.candidate else 0
    version = msgspec.structs.replace(model, weight=weight, scaling=scaling, shadow=copied)
    return version if both and rollout.under_way else _asleep(version)  # 3.
