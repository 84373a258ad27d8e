"""`headrace quote`: what a request would cost, before it is made."""

import click

from headrace.cli.shown import client, json_option, show


@click.command()
@click.argument("model")
@click.argument("prompt")
@click.option("--max-tokens", type=int, help="At most so many tokens of answer.")
@json_option
def command(model: str, prompt: str, max_tokens: int | None, as_json: bool) -> None:
    """What asking MODEL would cost: expected, and the most it could come to. Nothing is asked."""
    body = {"model": model, "messages": [{"role": "user", "content": prompt}]}
    if max_tokens is not None:
        body["max_tokens"] = max_tokens  # type: ignore[assignment] # a body has values of many types
    found = client().post("/v1/chat/completions", body, **{"x-headrace-dry-run": "quote"})
    tokens = f"{found['input_tokens']} tokens in by {found.get('basis', 'estimate')}, {found['output_tokens']} out"
    text = (
        f"expected   ${found['expected']}   ({tokens})\n"
        f"at most    ${found['worst_case']}   held by its budgets while it runs\n"
        f"price      {found['price']}"
    )
    show(found, text, as_json=as_json)
