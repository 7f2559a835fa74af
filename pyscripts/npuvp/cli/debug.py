"""`npuvp debug`."""

import argparse
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory

from npuvp.cli.common import Subparsers, add_command, add_platform, add_run_inputs, load_platform
from npuvp.cli.programs import load_contents, load_program, loaded_inputs, named_files
from npuvp.debug import Debugger
from npuvp.debug.shell import Shell
from npuvp.errors import InputError, RunError
from npuvp.machine import Machine

__all__ = ["add_commands"]

_PROMPT = "(npuvp) "


class _Completer(Completer):
    def __init__(self, shell: Shell):
        self._shell = shell

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        line = document.text_before_cursor
        last = line.rpartition(" ")[2]
        for word in self._shell.completions(line):
            yield Completion(word, start_position=-len(last))


def _history() -> Path:
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    path = Path(base) / "npuvp" / "debug_history"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _typed(shell: Shell) -> Iterator[str]:
    """Lines from the terminal, an empty one repeats the last; or from a pipe."""
    if not sys.stdin.isatty():
        yield from (line.rstrip("\n") for line in sys.stdin)
        return
    session: PromptSession[str] = PromptSession(
        history=FileHistory(str(_history())),
        completer=_Completer(shell),
        complete_while_typing=False,
    )
    last = ""
    while True:
        try:
            line = session.prompt(_PROMPT)
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
        last = line or last
        yield last


def _scripted(options: argparse.Namespace) -> list[str]:
    lines: list[str] = []
    for path in options.script:
        lines += Path(path).read_text(encoding="utf-8").splitlines()
    lines += options.command_line
    return lines


def _debug(options: argparse.Namespace) -> int | None:
    script = _scripted(options)
    platform = load_platform(options)
    firmware = load_program(options.program, options.define)
    inputs: dict[str, Any] = {
        name: np.load(path, allow_pickle=False)
        for name, path in named_files(options.input, "--input").items()
    }
    if options.restore and inputs:
        raise InputError("--restore brings the inputs of its run: leave --input out")

    def prepare(machine: Machine) -> None:
        for item in options.load:
            load_contents(machine, item)

    with Debugger(
        platform,
        firmware,
        inputs=None if options.restore else inputs,
        mode=options.mode,
        prepare=prepare,
        loaded=loaded_inputs(platform, firmware, options.load),
        checkpoint=options.restore,
    ) as debugger:
        shell = Shell(debugger)
        print(debugger.stop)
        for line in script:
            print(f"{_PROMPT}{line}")
            shell.execute(line)
            if shell.done:
                return None
        if script and not options.interactive:
            return None
        for line in _typed(shell):
            try:
                shell.execute(line)
            except (RunError, ValueError, OSError) as error:
                print(error, file=sys.stderr)
                if not sys.stdin.isatty():
                    return 1
            if shell.done:
                break
    return None


def add_commands(commands: Subparsers) -> None:
    """Adds the command."""
    parser = add_command(
        commands,
        "debug",
        _debug,
        "run a program that stops where you ask it to: breakpoints, watchpoints, steps forward and "
        "back, registers and memories as numbers (type help at the prompt)",
        "npuvp debug sum.s --platform platform/edge.yaml --load core0.vector=x.npy\n"
        "  npuvp debug sum.s --platform platform/edge.yaml "
        "-c 'break V_RED_SUM if gp1 > 64' -c continue -c where -c 'sram vector 1'",
    )
    parser.add_argument("program", metavar="PROGRAM", help="ELF, .s, .asm or raw words")
    add_platform(parser)
    add_run_inputs(parser)
    parser.add_argument(
        "--mode", choices=("functional", "timing"), default="functional", help="data mode"
    )
    parser.add_argument(
        "-x",
        "--script",
        action="append",
        default=[],
        metavar="FILE",
        help="commands, one a line; the first that fails ends the run with status 1",
    )
    parser.add_argument(
        "-c",
        "--command",
        dest="command_line",
        action="append",
        default=[],
        metavar="COMMAND",
        help="one command, after those of --script; may be repeated",
    )
    parser.add_argument(
        "--interactive", action="store_true", help="prompt after the script instead of ending"
    )
    parser.add_argument(
        "--restore", metavar="FILE", help="begin at a checkpoint (replayed and compared)"
    )
