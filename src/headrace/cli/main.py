"""The command line: `headrace COMMAND`. One file a command, loaded only when it is called.

Exit status: 0 ok, 1 failed, 2 usage, 3 cloud file invalid, 4 not found, 5 refused, 6 unreachable, 130 interrupted.
"""

import importlib
import os
import sys
from typing import Any, Final

import click

from headrace import __version__
from headrace.errors import HeadraceError, Invalid, Refused, Unreachable

COMMANDS: Final = {
    "up": "Start the cloud.",
    "down": "Stop the cloud.",
    "status": "The cloud at a glance.",
    "models": "Every model and its state.",
    "model": "Versions on their way: deployed, compared, promoted, taken back.",
    "run": "Ask a model once; the answer streams.",
    "chat": "Talk with a model.",
    "embed": "Embed texts.",
    "rerank": "Order documents by a query.",
    "image": "Draw pictures of words.",
    "upscale": "Enlarge a picture.",
    "video": "Make a film of words.",
    "transcribe": "Write down what a recording says.",
    "speak": "Speak a text into a file.",
    "key": "Make, list and revoke API keys.",
    "replicas": "Every replica.",
    "pool": "The devices there are, and which will be taken away.",
    "explain": "Why a request or a replica went as it did.",
    "cost": "What it cost and why, by whom and for what.",
    "budget": "What may be spent, by whom.",
    "quote": "What a request would cost, before it is made.",
    "batch": "Many requests at once, done while the machine is idle.",
    "pipeline": "Chained and parallel calls of models, durable and capped.",
    "events": "What the cloud did and why.",
    "logs": "The last lines of a replica.",
    "apply": "Apply a cloud file, after showing the difference.",
    "check": "Check a cloud file and whether it fits this machine.",
    "restore": "Put a backup of the database back.",
    "doctor": "Look for what keeps a cloud from running well.",
    "simulate": "What a cloud would do with a trace, and what it would cost.",
    "plan": "The least that a trace can cost, and on which pools.",
    "bench": "Measure a model through the cloud.",
    "config": "The schema of the cloud file.",
    "completion": "Shell completion.",
}


class Commands(click.Group):
    """Loads a command's file when the command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """In the order of first use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's
        """The command of that name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"headrace.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        """Names and summaries, without loading anything."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """With a suggestion for a name that is not known."""
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib  # only on the way to an error

            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise click.UsageError(f"There is no command {args[0]!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="headrace", message="%(prog)s %(version)s")
def headrace() -> None:
    """Headrace: the inference cloud that you run yourself."""


def main() -> None:
    """Run the command that was typed; errors are one line that names the fix."""
    if sys.argv[1:] == ["--version"]:
        print(f"headrace {__version__}")
        return
    color: bool | None = False if os.environ.get("NO_COLOR") else None
    as_json = "--json" in sys.argv[1:]
    try:
        code: Any = headrace.main(standalone_mode=False, color=color)
    except click.ClickException as error:
        code = error.exit_code
        if as_json:
            _tell_program(error.format_message(), code)
        else:
            error.show()
    except (click.Abort, KeyboardInterrupt):
        code = 130
    except HeadraceError as error:
        code = status_of(error)
        if as_json:
            _tell_program(str(error), code)
        else:
            click.echo(f"{click.style('error', fg='red')}: {error}", err=True, color=color)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code if isinstance(code, int) else 0)


def _tell_program(message: str, status: int) -> None:
    import json  # only on the way to an error

    click.echo(json.dumps({"error": {"message": message, "status": status}}, ensure_ascii=False), err=True)


def status_of(error: HeadraceError) -> int:
    """The exit status that says what to do."""
    match error:
        case Invalid(status=404):
            return 4
        case Invalid(code="does_not_fit" | "invalid_cloud_file"):
            return 3
        case Invalid(status=409):
            return 1
        case Invalid():
            return 2
        case Refused():
            return 5
        case Unreachable():
            return 6
        case _:
            return 1
