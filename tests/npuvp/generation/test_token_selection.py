import numpy as np

from npuvp.generation.selection import by_factor, by_quota, by_threshold


def positions(chosen: np.ndarray) -> list[list[int]]:
    return [np.flatnonzero(row).tolist() for row in chosen]


ALL = np.ones((1, 5), bool)


def test_quota_takes_the_best_and_the_lower_index_of_equals() -> None:
    confidence = np.array([[0.5, 0.9, 0.5, 0.9, 0.5]] * 2)
    eligible = np.array([[1, 1, 1, 1, 1], [1, 0, 1, 0, 1]], bool)
    assert positions(by_quota(confidence, eligible, np.array([3, 2]))) == [[0, 1, 3], [0, 2]]
    assert positions(by_quota(confidence, eligible, np.array([0, 9]))) == [[], [0, 2, 4]]


def test_threshold_is_reached_at_equality_unless_strict() -> None:
    confidence = np.array([[0.5, np.nextafter(0.5, 0), 0.6, 0.1, 0.2]])
    assert positions(by_threshold(confidence, ALL, 0.5)) == [[0, 2]]
    assert positions(by_threshold(confidence, ALL, 0.5, strict=True)) == [[2]]


def test_threshold_takes_the_best_in_any_case_but_nothing_ineligible() -> None:
    confidence = np.array([[0.1, 0.3, 0.3, 0.9, 0.2], [0.1, 0.2, 0.3, 0.4, 0.5]])
    eligible = np.array([[1, 1, 1, 0, 1], [0, 0, 0, 0, 0]], bool)
    assert positions(by_threshold(confidence, eligible, 0.95)) == [[1], []]


def test_factor_limits() -> None:
    # Limits with f = 1 from the second on: 2/3, 3/4, 4/5, 5/6.
    at_limit = np.array([[0.9, 1 - 1 / 3, 0.6, 0.5, 0.4]])
    assert positions(by_factor(at_limit, ALL, 1.0)) == [[0, 1]]
    below = np.array([[0.9, np.nextafter(1 - 1 / 3, 0), 0.6, 0.5, 0.4]])
    assert positions(by_factor(below, ALL, 1.0)) == [[0]]


def test_factor_stops_at_the_first_failure_even_if_later_ones_would_pass() -> None:
    # With f = 2 the limits are 1/3, 1/2, 3/5, 2/3.
    confidence = np.array([[0.9, 0.32, 0.31, 0.3, 0.2]])
    assert positions(by_factor(confidence, ALL, 2.0)) == [[0]]


def test_factor_commits_a_first_failure_at_the_last_place() -> None:
    confidence = np.array([[0.99, 0.98, 0.97, 0.96, 0.1]])
    assert positions(by_factor(confidence, ALL, 1.0)) == [[0, 1, 2, 3, 4]]
    two = np.array([[0.2, 0.1, 0, 0, 0]])
    assert positions(by_factor(two, np.array([[1, 1, 0, 0, 0]], bool), 1.0)) == [[0, 1]]
    assert positions(by_factor(two, np.zeros((1, 5), bool), 1.0)) == [[]]
