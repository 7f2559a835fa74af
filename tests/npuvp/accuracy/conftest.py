"""Tests of this folder that compute need PyTorch, which is an extra."""

import pytest


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """On a busy machine the threads of PyTorch wait for each other."""
    try:
        import torch
    except ImportError:
        return
    torch.set_num_threads(1)
