"""Sixteen float32 channels as one value inside a Numba kernel.

Numba has no vector type and no vectorised exp, and LLVM vectorises a scalar loop over many arrays only where it
can prove that none overlaps another. These intrinsics emit LLVM's own ``<16 x float>`` operations instead: one
register with AVX-512, two with AVX2, four with NEON. They exist inside ``njit`` only and check no bounds.

Numba's cache on disk watches the file of a kernel, not this one. So each ``numba_*_kernels.py`` states the digest of
this file, and a change here is one of theirs too; the tests say when.
"""

from __future__ import annotations

import operator
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic as _numba_intrinsic
from numba.extending import models, overload, register_model

WIDTH = 16
LOG2_E = 1.4426950408889634

# A kernel calls an intrinsic without the typing context that its definition starts with; no type says that.
intrinsic: Any = _numba_intrinsic

_FLOAT = ir.FloatType()
_FLOATS = ir.VectorType(_FLOAT, WIDTH)
_INTS = ir.VectorType(ir.IntType(32), WIDTH)

# 2^f on [-1/2, 1/2] as 1 + f·(c1 + f·(c2 + …)): least relative error (2e-9) with the value 1 at 0, so that a slow
# decay keeps its length over thousands of steps.
_EXP2 = (
    0.6931472028550962,
    0.24022647913626166,
    0.055503324710550785,
    0.00961843735778568,
    0.0013398874443687077,
    0.00015353361940885377,
)
# Adding 1.5 · 2^23 + 127 to x leaves round(x) + 127 in the lowest bits: one shift away from the float 2^round(x).
_ROUNDING = 12582912.0 + 127.0
_MANTISSA_BITS = 23


class LanesType(types.Type):
    """The Numba type of sixteen float32 channels."""

    def __init__(self) -> None:
        super().__init__(name=f"float32x{WIDTH}")


lanes = LanesType()


@register_model(LanesType)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, _FLOATS)


def _constant(value: float) -> ir.Constant:
    return ir.Constant(_FLOATS, [value] * WIDTH)


def element(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    """Code for the pointer to an element of a flat array."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [index], inbounds=True)


def splat_code(builder: Any, value: Any) -> Any:
    """Code for a float in all sixteen channels."""
    first = builder.insert_element(ir.Constant(_FLOATS, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, first, ir.Constant(_INTS, [0] * WIDTH))


def fma_code(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """Code for ``a · b + c``."""
    kind = ir.FunctionType(_FLOATS, [_FLOATS] * 3)
    name = f"llvm.fmuladd.v{WIDTH}f32"  # fused where the processor can, never a call into libm
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [a, b, c])


def is_flat(array: Any) -> bool:
    """Whether a Numba type is that of a flat float32 array."""
    return isinstance(array, types.Array) and array.ndim == 1 and array.dtype == types.float32


@intrinsic
def load(typingctx: Any, array: Any, index: Any) -> Any:
    """``array[index : index + 16]`` of a flat contiguous float32 array."""
    if not is_flat(array):
        return None

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = element(context, builder, signature.args[0], *args)
        return builder.load(builder.bitcast(place, _FLOATS.as_pointer()), align=4)

    return lanes(array, types.intp), codegen


@intrinsic
def store(typingctx: Any, array: Any, index: Any, value: Any) -> Any:
    """``array[index : index + 16] = value`` for a flat contiguous float32 array."""
    if not is_flat(array):
        return None

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = element(context, builder, signature.args[0], *args[:2])
        builder.store(args[2], builder.bitcast(place, _FLOATS.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, lanes), codegen


@intrinsic
def spread(typingctx: Any, array: Any, index: Any) -> Any:
    """``array[index]`` of a flat float32 array in all sixteen channels."""
    if not is_flat(array):
        return None

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = element(context, builder, signature.args[0], *args)
        return splat_code(builder, builder.load(place, align=4))

    return lanes(array, types.intp), codegen


@intrinsic
def splat(typingctx: Any, value: Any) -> Any:
    """The float32 `value` in all sixteen channels."""
    return lanes(types.float32), lambda context, builder, signature, args: splat_code(builder, *args)


@intrinsic
def zeros(typingctx: Any) -> Any:
    """0 in all channels."""
    return lanes(), lambda context, builder, signature, args: _constant(0.0)


@intrinsic
def ones(typingctx: Any) -> Any:
    """1 in all channels."""
    return lanes(), lambda context, builder, signature, args: _constant(1.0)


@intrinsic
def minus_log2_e(typingctx: Any) -> Any:
    """Negative log2 e in all channels, which turns exp2 into exp of the negative."""
    return lanes(), lambda context, builder, signature, args: _constant(-LOG2_E)


@intrinsic
def fma(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """``a · b + c``, rounded once where the processor has a fused multiply-add."""
    return lanes(lanes, lanes, lanes), lambda context, builder, signature, args: fma_code(builder, *args)


@intrinsic
def total(typingctx: Any, a: Any) -> Any:
    """The float32 sum of the sixteen channels, added pairwise."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        (value,) = args
        half = WIDTH // 2
        while half:
            moved = [half + place if place < half else 0 for place in range(WIDTH)]
            value = builder.fadd(value, builder.shuffle_vector(value, value, ir.Constant(_INTS, moved)))
            half //= 2
        return builder.extract_element(value, ir.Constant(ir.IntType(32), 0))

    return types.float32(lanes), codegen


@intrinsic
def exp2(typingctx: Any, x: Any) -> Any:
    """2^x, relative error below 1e-7; 0 below -96, infinity above 127.5, NaN for NaN.

    The least float is 2^-126, but a factor between it and 2^-96 makes denormal products, which cost the processor a
    hundred cycles each, and changes no sum that a float32 can tell.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        (x,) = args
        # Each comparison is false for NaN, which therefore goes through. From -127 the shift below makes exactly 0.
        high = _constant(128.0)
        x = builder.select(builder.fcmp_ordered("<", x, _constant(-96.0)), _constant(-127.0), x)
        x = builder.select(builder.fcmp_ordered(">", x, high), high, x)
        shifted = builder.fadd(x, _constant(_ROUNDING))
        fraction = builder.fsub(x, builder.fsub(shifted, _constant(_ROUNDING)))
        series = _constant(_EXP2[-1])
        for coefficient in reversed(_EXP2[:-1]):
            series = fma_code(builder, series, fraction, _constant(coefficient))
        series = fma_code(builder, series, fraction, _constant(1.0))
        bits = builder.shl(
            builder.bitcast(shifted, _INTS), ir.Constant(_INTS, [_MANTISSA_BITS] * WIDTH)
        )
        return builder.fmul(series, builder.bitcast(bits, _FLOATS))

    return lanes(lanes), codegen


def _arithmetic(instruction: str) -> Any:
    @intrinsic
    def apply(typingctx: Any, a: Any, b: Any) -> Any:
        return (
            lanes(lanes, lanes),
            lambda context, builder, signature, args: getattr(builder, instruction)(*args),
        )

    return apply


_add, _subtract, _multiply, _divide = (_arithmetic(name) for name in ("fadd", "fsub", "fmul", "fdiv"))


def _both(a: Any, b: Any) -> bool:
    return isinstance(a, LanesType) and isinstance(b, LanesType)


# Numba compares the parameters of an overload with those of what it returns: hence no annotations here.
@overload(operator.add)
def _overload_add(a, b):
    return (lambda a, b: _add(a, b)) if _both(a, b) else None


@overload(operator.sub)
def _overload_sub(a, b):
    return (lambda a, b: _subtract(a, b)) if _both(a, b) else None


@overload(operator.mul)
def _overload_mul(a, b):
    return (lambda a, b: _multiply(a, b)) if _both(a, b) else None


@overload(operator.truediv)
def _overload_div(a, b):
    return (lambda a, b: _divide(a, b)) if _both(a, b) else None
