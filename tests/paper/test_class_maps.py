"""Map correlations agree with scipy; the permutation test finds planted relations and no others."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from messages import refuses
from paper.stats import map_correlation, permutation_test
from texthead.errors import DataError


def symmetric(classes: int, seed: int) -> np.ndarray:
    """Return a symmetric matrix of independent noise with a diagonal of ones."""
    noise = np.random.default_rng(seed).normal(size=(classes, classes))
    entries = np.triu(noise, 1)
    return entries + entries.T + np.eye(classes)


@given(st.integers(3, 12), st.integers(0, 1000))
def test_the_correlation_of_maps_is_scipy_s(classes, seed):
    a, b = symmetric(classes, seed), symmetric(classes, seed + 1)
    result, upper = map_correlation(a, b), np.triu_indices(classes, 1)
    assert result == pytest.approx(scipy_stats.pearsonr(a[upper], b[upper]).statistic)
    assert map_correlation(b, a) == pytest.approx(result)
    # The diagonal, scaling and shifting have no effect.
    assert map_correlation((3 * a + 5 * np.eye(classes) - 1).tolist(), b) == pytest.approx(result)


def test_related_map_has_lowest_p():
    a = symmetric(12, 0)
    assert permutation_test(a, a, permutations=999, seed=0) == pytest.approx(1 / 1000)
    assert permutation_test(a, 2 * a + 1, permutations=999, seed=0) == pytest.approx(1 / 1000)
    # One-sided: a negative correlation is not significant.
    assert permutation_test(a, -a, permutations=999, seed=0) == pytest.approx(1)
    # With three classes only the original one of six orders has the highest correlation.
    b = symmetric(3, 0)
    assert permutation_test(b, b, permutations=20_000, seed=0) == pytest.approx(1 / 6, abs=0.01)
    # A relation in noise.
    c, noise = symmetric(20, 0), symmetric(20, 1)
    assert permutation_test(c, c + noise, permutations=999, seed=0) < 0.01


def test_permutations_of_classes_not_entries():
    """Unrelated rank-one maps of 8 classes: permuting single entries would find significant relations."""
    drawn = [np.random.default_rng(seed).normal(size=(2, 8)) for seed in range(100)]
    result = [permutation_test(np.outer(x, x), np.outer(y, y), permutations=199, seed=0) for x, y in drawn]
    assert sum(p <= 0.05 for p in result) <= 12


def test_the_same_seed_gives_the_same_p():
    a, b = symmetric(10, 0), symmetric(10, 1)
    first = permutation_test(a, b, permutations=99, seed=1)
    assert first == permutation_test(a, b, permutations=99, seed=1)
    assert len({permutation_test(a, b, permutations=99, seed=seed) for seed in range(10)}) > 1
    # Permuting both maps alike only reorders the classes.
    order = np.random.default_rng(0).permutation(10)
    moved = [entries[np.ix_(order, order)] for entries in (a, b)]
    assert map_correlation(*moved) == pytest.approx(map_correlation(a, b))
    assert permutation_test(*moved, permutations=2000, seed=2) == pytest.approx(
        permutation_test(a, b, permutations=2000, seed=2), abs=0.05
    )


@pytest.mark.parametrize("test", [map_correlation, lambda a, b: permutation_test(a, b, permutations=9, seed=0)])
@pytest.mark.parametrize(
    ("one", "other", "parts"),
    [
        (symmetric(3, 0), symmetric(4, 0), (3, 4)),
        (np.ones((2, 3)), np.ones((2, 3)), ("(2, 3)",)),
        (symmetric(4, 0), np.eye(4), (4,)),
        (np.eye(1), np.eye(1), (1,)),
    ],
)
def test_maps_that_cannot_be_compared(test, one, other, parts):
    with refuses(DataError, *parts):
        test(one, other)
    with refuses(DataError, "permutations", 0):
        permutation_test(symmetric(4, 0), symmetric(4, 1), permutations=0, seed=0)
