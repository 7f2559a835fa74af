"""The SIMD targets and storage formats to compare."""

from collections.abc import Iterator

import pytest
from golden_rows import FORMATS
from npuvp._core import numerics as core


@pytest.fixture(params=core.simd_targets())
def target(request: pytest.FixtureRequest) -> Iterator[str]:
    """Runs the test once per SIMD target of this processor."""
    core.use_simd_target(request.param)
    yield request.param
    core.use_simd_target("")


@pytest.fixture(params=list(FORMATS))
def storage(request: pytest.FixtureRequest) -> str:
    return request.param
