"""What a profile says limited a part of a run."""

import pytest

import npuvp as vp
from npuvp.traces.limits import achievable_bandwidth, limit_of

SHARES = {"own": 0.3, "operand": 0.2, "unit": 0.4, "memory": 0.04}


@pytest.mark.parametrize(
    ("matrix", "memory", "vector", "words"),
    [
        (0.85, 0.2, 0.1, "compute-bound, array 85%"),
        (0.2, 0.9, 0.1, "memory-bound, 90% of its bandwidth"),
        (
            0.84,
            0.2,
            0.1,
            "compute-bound, array 84%; issuing instructions 30%, waiting for results 20%",
        ),
        (
            0.1,
            0.2,
            0.0,
            "under no roof: array 10%, memory 20%; issuing instructions 30%, waiting for results 20%",
        ),
        (0.1, 0.2, 0.9, "vector unit 90%"),
    ],
)
def test_words(matrix: float, memory: float, vector: float, words: str) -> None:
    assert limit_of(matrix, memory, vector, SHARES) == words


def test_ports_or_refresh_limit_the_bandwidth() -> None:
    paper = vp.Platform.load("platform/paper.yaml")
    assert achievable_bandwidth(paper.description()) == 409.6e9
    narrow = vp.Platform.load("platform/paper.yaml", core={"dma_ports": 4})
    assert achievable_bandwidth(narrow.description()) == 4 * 32e9
    # 350 of 3,900 ns.
    v80 = vp.Platform.load("platform/v80.yaml")
    share = (
        achievable_bandwidth(v80.description())
        / v80.description()["hbms"][0]["parameters"]["bandwidth"]
    )
    assert 0.5 < share <= 1 - 350 / 3900 + 1e-9
