"""`headrace rerank`: order documents by a query."""

import click

from headrace.cli.shown import client, json_option, show


@click.command()
@click.argument("model")
@click.argument("query")
@click.argument("documents", nargs=-1, required=True)
@json_option
def command(model: str, query: str, documents: tuple[str, ...], as_json: bool) -> None:
    """Order DOCUMENTS by how well they answer QUERY, best first."""
    found = client().post("/v1/rerank", {"model": model, "query": query, "documents": list(documents)})
    lines = [f"{result['relevance_score']:+.3f}  {documents[result['index']]}" for result in found["results"]]
    show(found, "\n".join(lines), as_json=as_json)
