"""`npuvp quantise`."""

import argparse

from tqdm import tqdm

from npuvp.cli.common import Subparsers, add_command, print_json
from npuvp.compiler.formats import Formats
from npuvp.model.quantise import entry_of, quantise

__all__ = ["add_commands"]


def _quantise(options: argparse.Namespace) -> None:
    formats = Formats.of(options.formats)
    with tqdm(unit="tensor", leave=False, disable=None, delay=2) as bar:
        reports = quantise(
            options.model,
            formats,
            options.output,
            search=not options.no_search,
            progress=bar.update,
        )
    rows = [report.data() for report in reports]
    if options.json:
        print_json({"formats": entry_of(formats), "weights": rows})
        return
    print("role         format       tensors  error %  as it comes  clipped  stretched     bytes")
    for row in rows:
        print(
            f"{row['role']:<13}{row['format']:<13}{row['tensors']:>7}"
            f"{100 * row['relative_error']:>9.2f}{100 * row['relative_error_unclipped']:>13.2f}"
            f"{100 * row['clipped_blocks']:>7.1f} %{100 * row['stretched_blocks']:>9.1f} %"
            f"{row['bytes']:>10,} ({100 * row['bytes'] / row['bytes_bf16']:.1f} % of bf16)"
        )
    print(f"activations  {formats.activations}")
    print(f"written: {options.output}")


def add_commands(commands: Subparsers) -> None:
    """Adds the command."""
    parser = add_command(
        commands,
        "quantise",
        _quantise,
        "quantise the weights of a checkpoint, with a clipping search per block",
        "npuvp quantise models/llada-mini --formats models/formats/mxint4.yaml -o build/mini-int4",
    )
    parser.add_argument("model", metavar="MODEL_DIR", help="checkpoint directory")
    parser.add_argument("--formats", required=True, metavar="FILE", help="what becomes what (YAML)")
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="directory to write")
    parser.add_argument(
        "--no-search", action="store_true", help="convert as it comes, without searching limits"
    )
    parser.add_argument("--json", action="store_true", help="print the errors as JSON")
