"""Makes models/tasks.jsonl: held-out sums for `npuvp accuracy`.

python models/tasks.py --out models/tasks.jsonl
"""

import argparse
from pathlib import Path

from npuvp.accuracy.tasks import Task, write_tasks
from npuvp.model.addition import held_out


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--out", type=Path, required=True, help="file to write (JSONL)")
    parser.add_argument("--count", type=int, default=1200)
    parser.add_argument("--seed", type=int, default=2026)
    options = parser.parse_args()
    write_tasks([Task(*pair) for pair in held_out(options.count, options.seed)], options.out)


if __name__ == "__main__":
    main()
