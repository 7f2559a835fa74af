"""Where the package finds its data."""

from functools import cache
from pathlib import Path

__all__ = ["platform_dir"]


@cache
def platform_dir() -> Path:
    """The folder `platform/` with platform files, memory presets and energy tables.

    In a source tree (editable installation) the tree's own, otherwise the copy in the package.
    """
    package = Path(__file__).resolve().parent
    tree = package.parents[1] / "platform"
    return tree if tree.is_dir() else package / "data" / "platform"
