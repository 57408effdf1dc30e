"""The small matrix products and transposes of the compiled chunk scan, for every size of tile, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from auralnav.policies.ssm.numba_tiles import (
    ANTICAUSAL,
    CAUSAL,
    FULL,
    ROWS,
    UPPER,
    VECTORS,
    add_product,
    add_tile,
    transpose,
)


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(("rows", "vectors"), [(8, 2), (8, 1), (4, 1)])
@pytest.mark.parametrize("turned", [False, True])
def test_a_tile_of_any_processor_adds_a_product_and_writes_nowhere_else(rows: int, vectors: int, turned: bool):
    apply = add_tile(rows, vectors)

    @njit
    def run(out, a, b, a_row, a_step):
        apply(out, 5, 50, a, 3, a_row, a_step, b, 7, 48, 17)

    columns = 16 * vectors
    a, b, out = normal(rows, 17), normal(17, 48), normal(rows + 2, 50)
    flat = np.concatenate([normal(3).ravel(), (a.T if turned else a).ravel()])
    expected = out.ravel().copy()
    for i in range(rows):
        expected[5 + 50 * i : 5 + 50 * i + columns] += a[i] @ b[:, :columns]
    given = np.concatenate([normal(7).ravel(), b.ravel()])
    result = out.ravel().copy()
    run(result, flat, given, *((1, rows) if turned else (17, 1)))
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)
    untouched = expected == out.ravel()
    assert np.array_equal(result[untouched], out.ravel()[untouched])


@pytest.mark.parametrize("rows", [8, 16, 40])
@pytest.mark.parametrize("columns", [16, 32, 48])
def test_a_product_of_some_terms_is_that_of_a_factor_with_zeros(rows: int, columns: int):
    count = rows - 3
    a, b = normal(rows, count), normal(count, columns)
    i, k = np.indices(a.shape)
    for terms, kept in ((FULL, k >= 0), (CAUSAL, k <= i), (ANTICAUSAL, k >= i)):
        factor = np.where(kept, a, np.float32(0.0))
        out = normal(rows, columns)
        expected = out + factor @ b
        add_product(
            out.reshape(-1), 0, columns, factor.reshape(-1), 0, count, 1, b.reshape(-1), 0, columns,
            rows, columns, count, terms,
        )  # fmt: skip
        np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)


def test_terms_that_are_not_asked_for_are_not_even_read():
    """What lies outside the tiles on the diagonal may be anything."""
    rows = 3 * ROWS
    i, k = np.indices((rows, rows))
    for terms, kept, poisoned in (
        (CAUSAL, k <= i, k // ROWS > i // ROWS),
        (ANTICAUSAL, k >= i, k // ROWS < i // ROWS),
    ):
        a = np.where(kept, normal(rows, rows), np.float32(0.0))
        b, out = normal(rows, 16), np.zeros((rows, 16), np.float32)
        given = np.where(poisoned, np.float32(np.nan), a)
        add_product(
            out.reshape(-1), 0, 16, given.reshape(-1), 0, rows, 1, b.reshape(-1), 0, 16, rows, 16, rows, terms
        )
        np.testing.assert_allclose(out, a @ b, rtol=1e-5, atol=1e-5)


def test_the_upper_half_is_whole_and_most_of_the_lower_one_left_alone():
    size = 16 * VECTORS * 2
    a, b, out = normal(size, 20), normal(20, size), np.zeros((size, size), np.float32)
    add_product(
        out.reshape(-1), 0, size, a.reshape(-1), 0, 20, 1, b.reshape(-1), 0, size, size, size, 20, UPPER
    )
    np.testing.assert_allclose(np.triu(out), np.triu(a @ b), rtol=1e-5, atol=1e-5)
    assert not out[size // 2 :, : size // 2].any()


def test_a_transpose_is_a_transpose():
    x = normal(48, 32)
    out = np.zeros((32, 48), np.float32)
    transpose(x.reshape(-1), out.reshape(-1), 48, 32)
    assert np.array_equal(out, x.T)
