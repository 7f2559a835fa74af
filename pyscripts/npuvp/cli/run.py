"""`npuvp run`."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from npuvp.cli.common import (
    Subparsers,
    add_command,
    add_platform,
    add_run_inputs,
    add_traces,
    load_platform,
    print_json,
    print_result,
    tracing,
    write_reports,
)
from npuvp.cli.programs import (
    dump,
    load_contents,
    load_program,
    loaded_inputs,
    named_files,
    parse_dump,
)
from npuvp.machine import Machine
from npuvp.run import run_firmware

__all__ = ["add_commands"]


def _run(options: argparse.Namespace) -> None:
    platform = load_platform(options)
    firmware = load_program(options.program, options.define)
    inputs: dict[str, Any] = {
        name: np.load(path, allow_pickle=False)
        for name, path in named_files(options.input, "--input").items()
    }
    outputs = named_files(options.output, "--output")
    dumped: list[Path] = []

    def prepare(machine: Machine) -> None:
        for item in options.load:
            load_contents(machine, item)
        for item in options.dump:
            parse_dump(machine, item)

    def finish(machine: Machine) -> None:
        dumped.extend(dump(machine, item) for item in options.dump)

    with tracing(platform, options):
        result = run_firmware(
            platform,
            firmware,
            inputs=inputs,
            outputs=outputs or None,
            mode=options.mode,
            prepare=prepare,
            finish=finish,
            loaded=loaded_inputs(platform, firmware, options.load),
        )
    for name, path in outputs.items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        np.save(path, result.outputs[name])
        dumped.append(Path(path))
    files = [
        *dumped,
        *write_reports(options, result, f"{Path(options.program).name} on {platform.name}"),
    ]
    if options.json:
        print_json(result.summary())
        return
    print_result(result, files)
    for time_ps, core, word in result.host_words:
        print(f"host word at {time_ps / 1e3:.1f} ns from core {core}: {word:#010x} ({word})")


def add_commands(commands: Subparsers) -> None:
    """Adds the command."""
    parser = add_command(
        commands,
        "run",
        _run,
        "run a program: ELF firmware, .s or .asm source, or raw words",
        "npuvp run sum.s --platform platform/edge.yaml --load core0.vector=x.npy "
        "--dump core0.fp:0:1=sum.npy --vcd traces/sum.vcd",
    )
    parser.add_argument("program", metavar="PROGRAM", help="ELF, .s, .asm or raw words")
    add_platform(parser)
    add_run_inputs(parser)
    parser.add_argument(
        "--dump",
        action="append",
        default=[],
        metavar="SPACE:ADDR:COUNT=FILE",
        help="contents after",
    )
    parser.add_argument(
        "--output", action="append", default=[], metavar="NAME=FILE", help="an output tensor (.npy)"
    )
    add_traces(parser)
