"""The keys of foreign servers: read from where the operator keeps them, when the catalog is; held, never shown."""

from collections.abc import Callable

from headrace.errors import Invalid
from headrace.specs.catalog import Catalog, ModelSpec


class UpstreamKeys:
    """By reference. `read` gives the text behind one, or raises Invalid that names the reference and not the text."""

    def __init__(self, read: Callable[[str], str]) -> None:
        self._read = read
        self._known: dict[str, str] = {}
        self._missing: dict[str, str] = {}

    def refresh(self, catalog: Catalog) -> None:
        """Read all again."""
        self._known, self._missing = {}, {}
        for model in catalog.models:
            if reference := model.engine.api_key:
                try:
                    self._known[reference] = self._read(reference)
                except Invalid as error:
                    self._missing[reference] = error.message

    def of(self, model: ModelSpec) -> str | None:
        """The key of a model's server, empty when it needs none, None when it is missing."""
        return self._known.get(model.engine.api_key) if model.engine.api_key else ""

    def problem(self, model: ModelSpec) -> str:
        """Why the key is missing, empty when it is not."""
        return self._missing.get(model.engine.api_key, "")
