"""The OpenAPI 3.1 description of the admin API, made from its routes and the types they declare."""

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from headrace import __version__
from headrace.control.admin.routes import AdminRoute


def describe(routes: Sequence[AdminRoute]) -> dict[str, Any]:
    """The whole description."""
    types = [kind for route in routes for kind in (route.takes, route.gives) if kind is not None and kind is not str]
    schemas, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    by_type = dict(zip(map(repr, types), schemas, strict=True))
    paths: dict[str, Any] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, by_type)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Headrace admin API", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}],
    }


def _operation(route: AdminRoute, by_type: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": route.summary,
        "description": f"Role: {route.role}.",
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in re.findall(r"{(\w+)}", route.path)
        ]
        + [
            {"name": one.name, "in": "query", "description": one.text, "schema": {"type": one.kind}}
            for one in route.query
        ],
        "responses": {"200": {"description": "OK"}, "default": {"description": "OpenAI's error object"}},
    }
    if route.gives is str:
        operation["responses"]["200"]["content"] = {"text/plain": {"schema": {"type": "string"}}}
    else:
        operation["responses"]["200"]["content"] = {"application/json": {"schema": by_type[repr(route.gives)]}}
    if route.takes is str:
        operation["requestBody"] = {"content": {"application/yaml": {"schema": {"type": "string"}}}}
    elif route.takes is not None:
        operation["requestBody"] = {"content": {"application/json": {"schema": by_type[repr(route.takes)]}}}
    return operation
