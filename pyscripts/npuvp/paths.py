"""Where the package finds its data."""

from pathlib import Path

__all__ = ["platform_dir"]


def platform_dir() -> Path:
    """The folder `platform/` with platform files, memory presets and energy tables."""
    return Path(__file__).resolve().parents[2] / "platform"
