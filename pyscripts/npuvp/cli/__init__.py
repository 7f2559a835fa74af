"""The command line: `npuvp COMMAND`."""

import argparse
import os
import sys
from collections.abc import Sequence

from npuvp.cli import (
    accuracy,
    check,
    debug,
    estimate,
    generate,
    inspect,
    isa_tools,
    quantise,
    run,
    sample,
    sweep,
    validate,
)
from npuvp.errors import RunError

__all__ = ["main"]

_COMMANDS = (
    check,
    isa_tools,
    run,
    sample,
    generate,
    estimate,
    validate,
    quantise,
    accuracy,
    inspect,
    debug,
    sweep,
)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="npuvp",
        description="A virtual platform of an NPU for diffusion language models.",
        epilog="Each command has --help with an example.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in _COMMANDS:
        module.add_commands(commands)
    return parser


def _said(error: Exception) -> str:
    """What went wrong, of a file with its name in front."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror.lower()}"
    return str(error)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit status (0, 1 for what went wrong, 2 for bad usage)."""
    options = _parser().parse_args(arguments)
    try:
        status: int | None = options.function(options)
        sys.stdout.flush()
    except RunError as error:
        print(f"{type(error).__name__.removesuffix('Error')}: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # whoever reads the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError) as error:
        print(f"npuvp {options.command}: {_said(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"npuvp {options.command}: interrupted; traces so far are complete", file=sys.stderr)
        return 130
    return status or 0
