"""`headrace key`: make, list and revoke API keys."""

from urllib.parse import quote

import click

from headrace.cli.shown import client, json_option, show, table


@click.group()
def command() -> None:
    """Make, list and revoke API keys."""


@command.command()
@click.option("--name", default="", help="For you to know it by.")
@click.option("--tenant", default="default", show_default=True, help="Whose it is.")
@click.option(
    "--role",
    type=click.Choice(["user", "admin"]),
    default="user",
    show_default=True,
    help="admin may change the cloud.",
)
@click.option("--team", default="", help="A team of the tenant, for its budget.")
@click.option("--model", "models", multiple=True, help="A model it may use; repeat for more. All, when not given.")
@click.option("--requests-per-minute", type=int, help="The tenant's limit, when not given.")
@click.option("--tokens-per-minute", type=int, help="In and out; the tenant's limit, when not given.")
@click.option("--concurrency", type=int, help="Requests at once.")
@json_option
def create(models: tuple[str, ...], as_json: bool, **wanted: object) -> None:
    """Make a key. It is shown this once."""
    found = client().write("/headrace/v1/keys", {**wanted, "models": models or ("*",)})
    text = f"{found['key']}\n\nShown this once. Id {found['id']}, tenant {found['tenant']}, role {found['role']}."
    show(found, text, as_json=as_json)


@command.command("list")
@json_option
def list_keys(as_json: bool) -> None:
    """Every key, without its secret."""
    found = client().get("/headrace/v1/keys")
    heads = ["ID", "NAME", "TENANT", "ROLE", "MODELS", "RPM", "TPM", "AT ONCE", "STATE"]
    rows = [
        [k["id"], k["name"] or "-", k["tenant"], k["role"], ",".join(k["models"]), k["requests_per_minute"] or "-",
         k["tokens_per_minute"] or "-", k["concurrency"] or "-", "revoked" if k["revoked"] else "valid"]
        for k in found["keys"]
    ]  # fmt: skip
    show(found, table(heads, rows), as_json=as_json)


@command.command()
@click.argument("key_id", metavar="ID")
@json_option
def revoke(key_id: str, as_json: bool) -> None:
    """Refuse a key from now on, on every gateway."""
    found = client().delete(f"/headrace/v1/keys/{quote(key_id, safe='')}")
    show(found, f"{found['id']} is revoked", as_json=as_json)
