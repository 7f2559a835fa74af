"""Writes what derives from `pyscripts/npuvp/parameters.yaml`.

generate_parameters.py --cpp FOLDER     parameters.h and parameters_from_dict.h (CMake does this)
generate_parameters.py --python         docs/parameters.md and pyscripts/npuvp/parameter_types.py
"""

import argparse
import sys
import types
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# The package itself imports the extension module, which is built after this script has run.
package = types.ModuleType("npuvp")
package.__path__ = [str(ROOT / "pyscripts" / "npuvp")]
sys.modules.setdefault("npuvp", package)

from npuvp.parameter_texts import (  # noqa: E402
    cpp_from_dict_header,
    cpp_header,
    python_types,
    reference_page,
)


def write_if_changed(path: Path, text: str) -> None:
    """Keeps the time stamp of an unchanged file, so that nothing is recompiled for it."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cpp", type=Path, metavar="FOLDER", help="where the C++ headers go")
    parser.add_argument("--python", action="store_true", help="write the files in the tree")
    arguments = parser.parse_args()
    if arguments.cpp is not None:
        write_if_changed(arguments.cpp / "parameters.h", cpp_header())
        write_if_changed(arguments.cpp / "parameters_from_dict.h", cpp_from_dict_header())
    if arguments.python:
        write_if_changed(ROOT / "docs" / "parameters.md", reference_page())
        write_if_changed(ROOT / "pyscripts" / "npuvp" / "parameter_types.py", python_types())


if __name__ == "__main__":
    main()
