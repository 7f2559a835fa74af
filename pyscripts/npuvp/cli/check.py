"""`npuvp check`."""

import argparse

from npuvp.cli.common import Subparsers, add_command, add_platform, load_platform, print_json
from npuvp.describe import describe

__all__ = ["add_commands"]


def _check(options: argparse.Namespace) -> None:
    platform = load_platform(options)
    if options.json:
        print_json(platform.description())
    else:
        print(describe(platform))


def add_commands(commands: Subparsers) -> None:
    """Adds the command."""
    parser = add_command(
        commands,
        "check",
        _check,
        "validate a platform and show its topology, memory map and peak figures",
        "npuvp check platform/paper.yaml --set core.vlen=1024",
    )
    add_platform(parser, positional=True)
    parser.add_argument("--json", action="store_true", help="print the resolved description")
