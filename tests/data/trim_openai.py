"""Makes the files of `FILES` of OpenAI's published description: what is served.

`python -m tests.data.trim_openai PATH/openai-openapi.json.gz` writes them here, the same bytes each time.
"""

import gzip
import json
import sys
from pathlib import Path
from typing import Any

SERVED = {
    "/chat/completions": ["post"],
    "/completions": ["post"],
    "/embeddings": ["post"],
    "/models": ["get"],
    "/models/{model}": ["get"],
}
ORGANIZATION = {
    "/organization/usage/completions": ["get"],
    "/organization/usage/embeddings": ["get"],
    "/organization/costs": ["get"],
    "/organization/projects": ["get"],
    "/organization/projects/{project_id}": ["get"],
    "/organization/projects/{project_id}/api_keys": ["get"],
    "/organization/projects/{project_id}/api_keys/{api_key_id}": ["get", "delete"],
    "/organization/projects/{project_id}/spend_limit": ["get", "post", "delete"],
}
RESPONSES = {
    "/responses": ["post"],
    "/responses/input_tokens": ["post"],
    "/responses/{response_id}": ["get", "delete"],
    "/responses/{response_id}/cancel": ["post"],
    "/responses/{response_id}/input_items": ["get"],
}
MEDIA = {
    "/images/generations": ["post"],
    "/images/edits": ["post"],
    "/audio/transcriptions": ["post"],
    "/audio/translations": ["post"],
    "/files": ["get", "post"],
    "/files/{file_id}": ["get", "delete"],
    "/batches": ["get", "post"],
    "/batches/{batch_id}": ["get"],
    "/batches/{batch_id}/cancel": ["post"],
    "/videos": ["get", "post"],
    "/videos/{video_id}": ["get", "delete"],
}
FILES = {
    "openai-media": MEDIA,
    "openai-served": SERVED,
    "openai-organization": ORGANIZATION,
    "openai-responses": RESPONSES,
}
KEPT = {"operationId", "parameters", "requestBody", "responses", "tags", "summary"}


def trim(whole: dict[str, Any], served: dict[str, list[str]]) -> dict[str, Any]:
    """The part of the description that is served, references closed under reach."""
    paths = {
        path: {method: {k: v for k, v in whole["paths"][path][method].items() if k in KEPT} for method in methods}
        for path, methods in served.items()
    }
    components: dict[str, dict[str, Any]] = {}
    wanted = list(references(paths))
    while wanted:
        _, _, kind, name = wanted.pop().split("/")
        kept = components.setdefault(kind, {})
        if name not in kept:
            part = whole["components"][kind][name]
            kept[name] = lean(part) if kind == "schemas" else part
            wanted.extend(references(kept[name]))
    return {
        "openapi": whole["openapi"],
        "info": {"title": "OpenAI API, the served part", "version": whole["info"]["version"]},
        "servers": [{"url": "http://127.0.0.1/v1"}],
        "paths": paths,
        "components": components,
    }


def references(node: Any):
    """Every `$ref` below a node."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref" and isinstance(value, str):
                yield value
            else:
                yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def lean(node: Any, names: bool = False) -> Any:
    """A schema without its prose; `names` says that the keys are property names, not keywords."""
    if isinstance(node, dict):
        return {
            key: lean(value, key == "properties" and not names)
            for key, value in node.items()
            if names or not (key in {"description", "example", "examples"} or key.startswith("x-"))
        }
    return [lean(value) for value in node] if isinstance(node, list) else node


def main() -> None:
    source = Path(sys.argv[1])
    whole = json.loads(gzip.decompress(source.read_bytes()))
    for name, served in FILES.items():
        text = json.dumps(trim(whole, served), separators=(",", ":"), sort_keys=True).encode()
        target = Path(__file__).with_name(f"{name}.json.gz")
        target.write_bytes(gzip.compress(text, 9, mtime=0))
        print(f"{target.name}: {len(text)} bytes, {target.stat().st_size} compressed")


if __name__ == "__main__":
    main()
