"""A checked pipeline: what each step needs, in which order they may run, and what is wrong with it. Pure."""

from graphlib import CycleError, TopologicalSorter

from headrace.errors import Invalid
from headrace.pipelines import templates
from headrace.specs.pipeline import Pipeline, Step
from headrace.specs.problem import closest

_OWN = frozenset({"item", "index", "round", "last", "result"})


def needs(found: Pipeline) -> dict[str, set[str]]:
    """The steps each step waits for. Raises Invalid naming the step."""
    known = {*found.input, *found.steps}
    graph = {}
    for name, step in found.steps.items():
        several = step.each is not None or step.loop is not None or step.n is not None
        used = _used(name, step) - (_OWN if several else set())
        for word in sorted(used - known):
            raise _wrong(
                f"step {name}: there is no {word!r}{closest(word, known)}; give an input or a step of that name"
            )
        if name in used:
            raise _wrong(f"step {name}: it needs its own result; use `loop` and `last`")
        graph[name] = used & set(found.steps)
    for word in sorted(templates.names(found.output, "output") - known):
        raise _wrong(f"output: there is no {word!r}{closest(word, known)}; give an input or a step of that name")
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise _wrong(f"steps need each other in a circle: {' -> '.join(error.args[1])}; break it") from None
    return graph


def models(found: Pipeline) -> set[str]:
    """Every model a pipeline may ask; those that a template names are not known before."""
    return {model for step in found.steps.values() for model in step.models if "{{" not in model}


def _used(name: str, step: Step) -> set[str]:
    fields = (step.prompt, step.system, step.texts, step.query, step.documents, step.value, step.each, step.seed,
              step.model, step.images, step.audio, step.text, step.voice, step.language, step.size)  # fmt: skip
    used = set().union(*(templates.names(field, name) for field in fields))
    if step.best is not None:
        used |= templates.names(step.best.query, name) | templates.names(step.best.prompt, name)
    conditions = [step.when, step.enough, step.loop.until if step.loop else ""]
    for text in filter(None, conditions):
        used |= templates.names(text if "{{" in text else "{{ " + text + " }}", name)
    return used


def _wrong(message: str) -> Invalid:
    return Invalid(message, code="invalid_pipeline", status=422)
