"""Makes models/llada-mini-outliers: llada-mini with loud key channels, the same function.

python models/outliers.py --out models/llada-mini-outliers
"""

import argparse
from pathlib import Path

from npuvp.model.outliers import write_outlier_model


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    source = Path(__file__).parent / "llada-mini"
    parser.add_argument("--source", type=Path, default=source, help="model directory")
    parser.add_argument("--out", type=Path, required=True, help="model directory to write")
    parser.add_argument("--pairs", type=int, default=2, help="rotary pairs per KV head")
    parser.add_argument("--exponent", type=int, default=4, help="channels grow by 2 to this power")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of channels")
    options = vars(parser.parse_args())
    scales = write_outlier_model(options.pop("source"), options.pop("out"), **options)
    print(f"{int((scales > 1).sum())} of {scales.size} key channels times {scales.max():g}")


if __name__ == "__main__":
    main()
