"""Random draws: who gets which word, and the distributions that come out."""

import numpy as np

from npuvp.generation.candidates import Place, noisy_argmax
from npuvp.generation.random import (
    NO_TOKEN,
    position_gumbel,
    position_uniform,
    token_gumbel,
)
from npuvp.golden.philox import gumbel, philox, uniform


def test_counter_words() -> None:
    key = [7, 1]
    seed = 1 << 32 | 7
    row = token_gumbel(10, position=5, call=3, row=2, seed=seed)
    assert row.shape == (10,)
    np.testing.assert_array_equal(row[4:8], gumbel(philox([1, 5, 3, 2], key)))
    positions = np.array([4, 9])
    words = philox([NO_TOKEN, 9, 3, 1], key)[0]
    assert position_uniform(2, positions, 3, seed)[1, 1] == uniform(words)
    assert position_gumbel(2, positions, 3, seed)[1, 1] == gumbel(words)


def test_gumbel_max_samples_the_softmax() -> None:
    logits = np.array([0.0, 1.0, 2.0, -1.0], np.float32)
    temperature, draws = 2.0, 4000
    place = Place(np.arange(draws), np.ones((1, draws), bool), 0, 11)
    tokens = noisy_argmax(np.broadcast_to(logits, (1, draws, 4)), temperature, place)
    expected = np.exp(logits / temperature) / np.exp(logits / temperature).sum()
    share = np.bincount(tokens[0], minlength=4) / draws
    assert np.abs(share - expected).max() < 4 * np.sqrt(0.25 / draws)


def test_no_noise_takes_the_first_of_equals() -> None:
    logits = np.array([[[1, 3, 3, 0]]], np.float32)
    assert noisy_argmax(logits, 0.0, Place(np.arange(1), np.ones((1, 1), bool), 0, 0)) == 1
