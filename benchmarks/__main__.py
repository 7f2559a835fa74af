"""Runs every benchmark: a table, and `build/bench.json`."""

import argparse
import importlib
import json
import pkgutil
import sys
from pathlib import Path

import benchmarks
from benchmarks.measurement import Measurement

_HELPERS = ("measurement", "scalesim")


def _modules() -> list[str]:
    names = [info.name for info in pkgutil.iter_modules(benchmarks.__path__)]
    return [name for name in names if not name.startswith("_") and name not in _HELPERS]


def main() -> int:
    """Returns 1 where a limit is not kept."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(_modules())}; default: all")
    chosen = parser.parse_args().names or _modules()
    unknown = sorted(set(chosen) - set(_modules()))
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r} (there are {', '.join(_modules())})")
    measured: dict[str, Measurement] = {}
    print(f"{'benchmark':<42}{'value':>10}{'limit':>10}  holds")
    for module in chosen:
        for name, m in importlib.import_module(f"benchmarks.{module}").measure().items():
            measured[name] = m
            value = "-" if m.value is None else f"{m.value:.3g}"
            limit = (
                "-" if m.limit is None else f"{'<=' if m.better == 'lower' else '>='} {m.limit:g}"
            )
            holds = {None: "", True: "yes", False: "NO"}[m.holds]
            print(f"{name:<42}{value:>10}{limit:>10}  {holds:<5} {m.unit}; {m.note}", flush=True)
    path = Path("build/bench.json")
    path.parent.mkdir(exist_ok=True)
    table = {
        name: {"value": m.value, "limit": m.limit, "better": m.better, "unit": m.unit}
        for name, m in measured.items()
    }
    path.write_text(json.dumps(table, indent=2) + "\n")
    print(f"written: {path}")
    return int(any(m.holds is False for m in measured.values()))


if __name__ == "__main__":
    sys.exit(main())
