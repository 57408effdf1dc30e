"""Products and transposes of small float32 matrices inside a Numba kernel, by tiles that stay in registers.

A matrix is a part of a flat contiguous array: a place in it, and the floats from row to row. Columns come in whole
vectors of 16, rows of a product in whole `ROWS`. As in `numba_lanes`, no bounds are checked. On one core with AVX-512
these products run at the speed of MKL's, and what surrounds them finds its operands in the cache.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils

from auralnav.policies.ssm.numba_lanes import WIDTH, element, fma_code, intrinsic, is_flat, splat_code

LANES = "3a4af2ac8e55"
"""Start of the SHA-256 of numba_lanes.py: Numba compiles anew when this file changes, not when that one does."""

_FLOATS = ir.VectorType(ir.FloatType(), WIDTH)
_INDICES = ir.VectorType(ir.IntType(32), WIDTH)

# A tile's sums, one row of the right factor and one value of the left have to fit into the registers: 32 of sixteen
# floats with AVX-512, else 16 of eight (AVX2) or 32 of four (NEON).
ROWS, VECTORS = (8, 2) if llvmlite.binding.get_host_cpu_features().get("avx512f") else (4, 1)

FULL, CAUSAL, ANTICAUSAL, UPPER = range(4)
"""What `add_product` computes: everything; the terms k ≤ i; the terms k ≥ i; the columns j ≥ i."""


def _vector(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    """Pointer to the vector that starts at `index`."""
    return builder.bitcast(element(context, builder, array_type, array, index), _FLOATS.as_pointer())


def _offset(builder: Any, at: Any, number: int, stride: Any) -> Any:
    return builder.add(at, builder.mul(ir.Constant(at.type, number), stride))


def add_tile(rows: int, vectors: int) -> Any:
    """The intrinsic for one tile of `rows` rows and 16 · `vectors` columns: ``out[i, j] += Σ_k a[i, k] b[k, j]``.

    Its arguments are out, its place and its stride; a, its place and its floats from i to i + 1 and from k to k + 1;
    b, its place and its floats from k to k + 1; and the number of terms.
    """

    @intrinsic
    def apply(
        typingctx: Any,
        out: Any,
        at: Any,
        stride: Any,
        a: Any,
        a_at: Any,
        a_row: Any,
        a_step: Any,
        b: Any,
        b_at: Any,
        b_step: Any,
        count: Any,
    ) -> Any:
        if not (is_flat(out) and is_flat(a) and is_flat(b)):
            return None

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            out, at, stride, a, a_at, a_row, a_step, b, b_at, b_step, count = args
            kinds = signature.args
            tile = [(i, j) for i in range(rows) for j in range(vectors)]
            columns = [ir.Constant(at.type, j * WIDTH) for j in range(vectors)]
            places, sums = {}, {}
            for i, j in tile:
                start = builder.add(_offset(builder, at, i, stride), columns[j])
                places[i, j] = _vector(context, builder, kinds[0], out, start)
                sums[i, j] = cgutils.alloca_once(builder, _FLOATS)
                builder.store(builder.load(places[i, j], align=4), sums[i, j])
            lefts = [
                element(context, builder, kinds[3], a, _offset(builder, a_at, i, a_row)) for i in range(rows)
            ]
            with cgutils.for_range(builder, count) as loop:
                start = builder.add(b_at, builder.mul(loop.index, b_step))
                rights = [
                    builder.load(_vector(context, builder, kinds[7], b, builder.add(start, column)), align=4)
                    for column in columns
                ]
                step = builder.mul(loop.index, a_step)
                values = [
                    splat_code(builder, builder.load(builder.gep(left, [step]), align=4)) for left in lefts
                ]
                for i, j in tile:
                    total = fma_code(builder, values[i], rights[j], builder.load(sums[i, j]))
                    builder.store(total, sums[i, j])
            for place in tile:
                builder.store(builder.load(sums[place]), places[place], align=4)
            return context.get_dummy_value()

        number = types.intp
        matrices = (out, number, number, a, number, number, number, b, number, number, number)
        return types.void(*matrices), codegen

    return apply


_add_wide, _add_narrow = add_tile(ROWS, VECTORS), add_tile(ROWS, 1)


@intrinsic
def _transpose_block(
    typingctx: Any, source: Any, at: Any, stride: Any, out: Any, out_at: Any, out_stride: Any
) -> Any:
    """``out[j, i] = source[i, j]`` for 16 × 16 elements."""
    if not (is_flat(source) and is_flat(out)):
        return None

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source, at, stride, out, out_at, out_stride = args
        values = []
        for i in range(WIDTH):
            start = _offset(builder, at, i, stride)
            values.append(builder.load(_vector(context, builder, signature.args[0], source, start), align=4))
        half = WIDTH // 2
        while half:  # swap the two blocks beside the diagonal, of half the size each time
            low = [j if not j & half else WIDTH + j - half for j in range(WIDTH)]
            high = [j + half if not j & half else WIDTH + j for j in range(WIDTH)]
            for i in (i for i in range(WIDTH) if not i & half):
                pair = values[i], values[i + half]
                values[i] = builder.shuffle_vector(*pair, ir.Constant(_INDICES, low))
                values[i + half] = builder.shuffle_vector(*pair, ir.Constant(_INDICES, high))
            half //= 2
        for i, value in enumerate(values):
            start = _offset(builder, out_at, i, out_stride)
            builder.store(value, _vector(context, builder, signature.args[3], out, start), align=4)
        return context.get_dummy_value()

    number = types.intp
    return types.void(source, number, number, out, number, number), codegen


@njit(cache=True, nogil=True)
def add_product(out, at, stride, a, a_at, a_row, a_step, b, b_at, b_step, rows, columns, count, terms):
    """``out[i, j] += Σ_k a[i, k] b[k, j]`` for i < rows, j < columns and k < count, of the `terms` that are named.

    Args:
        out: rows `stride` floats apart from `at` on.
        at: place.
        stride: floats.
        a: the left factor, a[i, k] at a_at + i · a_row + k · a_step: it may lie either way round.
        a_at: place.
        a_row: floats.
        a_step: floats.
        b: the right factor, b[k, j] at b_at + k · b_step + j.
        b_at: place.
        b_step: floats.
        rows: a multiple of ROWS.
        columns: a multiple of 16.
        count: terms of the sum.
        terms: FULL, CAUSAL, ANTICAUSAL or UPPER. A tile on the diagonal is computed whole: zeros of `a` beside it
            make the terms right, and what UPPER writes there is of no use.
    """
    j = 0
    while j < columns:
        wide = columns - j >= VECTORS * WIDTH
        span = VECTORS * WIDTH if wide else WIDTH
        for i in range(0, rows, ROWS):
            first, last = 0, count
            if terms == CAUSAL:
                last = min(count, i + ROWS)
            elif terms == ANTICAUSAL:
                first = min(count, i)
            elif terms == UPPER and j + span <= i:
                continue
            here = at + i * stride + j
            left = a_at + i * a_row + first * a_step
            right = b_at + first * b_step + j
            if wide:
                _add_wide(out, here, stride, a, left, a_row, a_step, b, right, b_step, last - first)
            else:
                _add_narrow(out, here, stride, a, left, a_row, a_step, b, right, b_step, last - first)
        j += span


@njit(cache=True, nogil=True)
def transpose(source, out, rows, columns):
    """``out[j, i] = source[i, j]`` between arrays without gaps, [rows, columns] and back, multiples of 16."""
    for i in range(0, rows, WIDTH):
        for j in range(0, columns, WIDTH):
            _transpose_block(source, i * columns + j, columns, out, j * rows + i, rows)
