"""Eight float32 as one value inside a Numba kernel, and the few operations that rules need beside arithmetic.

A rule that is written with `pick`, `root`, `size`, `lower` and `upper` in place of conditions and of functions of
`math` takes a float32 as well as eight of them: compiled with `lanes` it moves the eight ships of a world at once, in
one register with AVX and two with SSE or NEON; compiled with float32 it moves one ship, in the thread of a CUDA kernel.
LLVM would not vectorise a loop of eight rounds by itself: it unrolls that first.

The intrinsics exist inside `njit` for the CPU only and check no bounds.
"""

from __future__ import annotations

import math
import operator
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic as _numba_intrinsic
from numba.extending import models, overload, register_model

WIDTH = 8

# A kernel calls an intrinsic without the typing context that its definition starts with; no type says that.
intrinsic: Any = _numba_intrinsic

_FLOATS = ir.VectorType(ir.FloatType(), WIDTH)
_BITS = ir.VectorType(ir.IntType(1), WIDTH)
_INTS = ir.VectorType(ir.IntType(32), WIDTH)


class LanesType(types.Type):
    """The Numba type of eight float32."""

    def __init__(self) -> None:
        super().__init__(name=f"float32x{WIDTH}")


class MaskType(types.Type):
    """The Numba type of eight booleans."""

    def __init__(self) -> None:
        super().__init__(name=f"boolx{WIDTH}")


lanes, mask = LanesType(), MaskType()


@register_model(LanesType)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, _FLOATS)


@register_model(MaskType)
class _MaskModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any) -> None:
        super().__init__(dmm, fe_type, _BITS)


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index], inbounds=True), _FLOATS.as_pointer())


def _is_flat(array: Any) -> bool:
    return isinstance(array, types.Array) and array.ndim == 1 and array.dtype == types.float32


@intrinsic
def load(typingctx: Any, array: Any, index: Any) -> Any:
    """``array[index : index + 8]`` of a flat contiguous float32 array."""
    if not _is_flat(array):
        return None

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_pointer(context, builder, signature.args[0], *args), align=4)

    return lanes(array, types.intp), codegen


@intrinsic
def store(typingctx: Any, array: Any, index: Any, value: Any) -> Any:
    """``array[index : index + 8] = value`` for a flat contiguous float32 array."""
    if not _is_flat(array):
        return None

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], _pointer(context, builder, signature.args[0], *args[:2]), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, lanes), codegen


@intrinsic
def store_columns(typingctx: Any, array: Any, index: Any, stride: Any, columns: Any) -> Any:
    """Store eight lanes as the columns of eight rows: ``array[index + row · stride + k] = columns[k][row]``."""
    if not _is_flat(array):
        return None

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        target, index, stride, group = args
        rows = [builder.extract_value(group, k) for k in range(WIDTH)]
        distance = 1
        while distance < WIDTH:  # exchange blocks of growing size between pairs of rows: a transposition
            low = [k if not k & distance else WIDTH + k - distance for k in range(WIDTH)]
            high = [k + distance if not k & distance else WIDTH + k for k in range(WIDTH)]
            for k in range(WIDTH):
                if not k & distance:
                    pair = rows[k], rows[k + distance]
                    rows[k] = builder.shuffle_vector(*pair, ir.Constant(_INTS, low))
                    rows[k + distance] = builder.shuffle_vector(*pair, ir.Constant(_INTS, high))
            distance *= 2
        for row in rows:
            builder.store(row, _pointer(context, builder, signature.args[0], target, index), align=4)
            index = builder.add(index, stride)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, types.UniTuple(lanes, WIDTH)), codegen


@intrinsic
def splat(typingctx: Any, value: Any) -> Any:
    """The float32 `value` in all eight places."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        one = builder.insert_element(ir.Constant(_FLOATS, ir.Undefined), args[0], ir.Constant(ir.IntType(32), 0))
        return builder.shuffle_vector(one, one, ir.Constant(_INTS, [0] * WIDTH))

    return lanes(types.float32), codegen


@intrinsic
def places(typingctx: Any) -> Any:
    """0, 1, … 7: which place it is."""
    return lanes(), lambda context, builder, signature, args: ir.Constant(_FLOATS, [float(k) for k in range(WIDTH)])


@intrinsic
def bits(typingctx: Any, chosen: Any) -> Any:
    """The mask as a whole number: bit k is set where place k holds; 0 where none does."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.zext(builder.bitcast(args[0], ir.IntType(WIDTH)), ir.IntType(64))

    return types.int64(mask), codegen


def _binary(result: Any, operands: Any, instruction: str, *comparison: str) -> Any:
    """An intrinsic of two values; `comparison` is the operator that `instruction` takes first, where it takes one."""

    @intrinsic
    def apply(typingctx: Any, a: Any, b: Any) -> Any:
        return (
            result(operands, operands),
            lambda context, builder, signature, args: getattr(builder, instruction)(*comparison, *args),
        )

    return apply


def _unary(function: str) -> Any:
    """An intrinsic of one value by LLVM's function of that name."""

    @intrinsic
    def apply(typingctx: Any, a: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            kind = ir.FunctionType(_FLOATS, [_FLOATS])
            name = f"llvm.{function}.v{WIDTH}f32"
            return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)

        return lanes(lanes), codegen

    return apply


@intrinsic
def _select(typingctx: Any, chosen: Any, a: Any, b: Any) -> Any:
    return lanes(mask, lanes, lanes), lambda context, builder, signature, args: builder.select(*args)


@intrinsic
def _negate(typingctx: Any, a: Any) -> Any:
    return lanes(lanes), lambda context, builder, signature, args: builder.fneg(args[0])


_root, _size = _unary("sqrt"), _unary("fabs")


# Numba compares the parameters of an overload with those of what it returns: hence no annotations here.
def _mixed(operation: Any, apply: Any) -> None:
    """Let an operator take lanes, or lanes and a float."""

    @overload(operation)
    def _overload(a, b):
        if isinstance(a, LanesType) and isinstance(b, LanesType):
            return lambda a, b: apply(a, b)
        if isinstance(a, LanesType) and isinstance(b, types.Float):
            return lambda a, b: apply(a, splat(b))
        if isinstance(a, types.Float) and isinstance(b, LanesType):
            return lambda a, b: apply(splat(a), b)
        return None


for _operation, _instruction in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _mixed(_operation, _binary(lanes, lanes, _instruction))
for _operation, _sign in (
    (operator.lt, "<"),
    (operator.le, "<="),
    (operator.gt, ">"),
    (operator.ge, ">="),
    (operator.eq, "=="),
    (operator.ne, "!="),
):
    _mixed(_operation, _binary(mask, lanes, "fcmp_ordered", _sign))


def _masks(operation: Any, apply: Any) -> None:
    @overload(operation)
    def _overload(a, b):
        return (lambda a, b: apply(a, b)) if isinstance(a, MaskType) and isinstance(b, MaskType) else None


_masks(operator.and_, _binary(mask, mask, "and_"))
_masks(operator.or_, _binary(mask, mask, "or_"))


@overload(operator.neg)
def _overload_neg(a):
    return (lambda a: _negate(a)) if isinstance(a, LanesType) else None


def pick(chosen: Any, a: Any, b: Any) -> Any:
    """`a` where `chosen` holds, else `b`."""
    return a if chosen else b


@overload(pick)
def _overload_pick(chosen, a, b):
    if isinstance(chosen, types.Boolean):
        return lambda chosen, a, b: a if chosen else b
    if not isinstance(chosen, MaskType):
        return None
    if isinstance(a, types.Float):
        if isinstance(b, types.Float):
            return lambda chosen, a, b: _select(chosen, splat(a), splat(b))
        return lambda chosen, a, b: _select(chosen, splat(a), b)
    if isinstance(b, types.Float):
        return lambda chosen, a, b: _select(chosen, a, splat(b))
    return lambda chosen, a, b: _select(chosen, a, b)


def lower(a: Any, b: Any) -> Any:
    """The lower of two; `b` where either is NaN."""
    return a if a < b else b


@overload(lower)
def _overload_lower(a, b):
    return lambda a, b: pick(a < b, a, b)


def upper(a: Any, b: Any) -> Any:
    """The higher of two; `b` where either is NaN."""
    return a if a > b else b


@overload(upper)
def _overload_upper(a, b):
    return lambda a, b: pick(a > b, a, b)


def root(a: Any) -> Any:
    """The square root."""
    return math.sqrt(a)


@overload(root)
def _overload_root(a):
    return (lambda a: _root(a)) if isinstance(a, LanesType) else (lambda a: math.sqrt(a))


def size(a: Any) -> Any:
    """The absolute value."""
    return abs(a)


@overload(size)
def _overload_size(a):
    return (lambda a: _size(a)) if isinstance(a, LanesType) else (lambda a: abs(a))
