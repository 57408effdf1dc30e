"""Nested Python values as safetensors bytes: arrays as tensors, everything else as JSON in the metadata.

This is how a training state goes to disk without pickle. Known: None, bool, int of any size, float, str,
list, tuple, dict with str or int keys, NumPy arrays and scalars of numeric dtypes, torch tensors.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from auralnav.errors import CheckpointError

_TREE = "tree"
_NATIVE = {
    "bool",
    "uint8",
    "int8",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "uint64",
    "float16",
    "float32",
    "float64",
}


def encode(tree: Any, metadata: dict[str, str] | None = None) -> bytes:
    """Bytes of a nested value; `metadata` is stored beside it, readable without the rest.

    Raises:
        CheckpointError: the value holds something that has no form on disk (its place is named).
    """
    tensors: dict[str, np.ndarray] = {}
    skeleton = _pack(tree, tensors, "state")
    # One key only: safetensors writes several in random order, and equal values should make equal files.
    return save(tensors, {_TREE: json.dumps([skeleton, metadata or {}])})


def decode(data: bytes, name: str) -> tuple[Any, dict[str, str]]:
    """The nested value and the metadata of `encode`'s bytes; `name` is what errors call them.

    Raises:
        CheckpointError: the bytes are cut off or are no such file.
    """
    try:
        tensors = load(data)
        header = int.from_bytes(data[:8], "little")
        skeleton, metadata = json.loads(json.loads(data[8 : 8 + header])["__metadata__"][_TREE])
        return _unpack(skeleton, tensors), metadata
    except (SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"{name}: damaged or cut off ({error}); restore it from a copy or train anew"
        ) from error


def _pack(value: Any, tensors: dict[str, np.ndarray], place: str) -> Any:
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, np.generic):
        return value
    if isinstance(value, (np.ndarray, np.generic)):
        return _pack_array(value, tensors, place)
    if isinstance(value, dict):
        pairs = []
        for key, child in value.items():
            if not isinstance(key, (str, int)) or isinstance(key, bool):
                raise CheckpointError(f"{place}: key {key!r} has no form on disk; use a str or an int")
            pairs.append([key, _pack(child, tensors, f"{place}.{key}")])
        return {"d": pairs}
    if isinstance(value, (list, tuple)):
        kind = "l" if isinstance(value, list) else "t"
        return {kind: [_pack(child, tensors, f"{place}.{index}") for index, child in enumerate(value)]}
    if type(value).__module__.startswith("torch") and hasattr(value, "detach"):
        array = value.detach().cpu().numpy()
        return {"torch": _pack_array(array, tensors, place)}
    raise CheckpointError(
        f"{place}: a {type(value).__name__} has no form on disk; give arrays, numbers and texts"
    )


def _pack_array(value: np.ndarray | np.generic, tensors: dict[str, np.ndarray], place: str) -> dict[str, Any]:
    array = np.asarray(value)
    if array.dtype.kind not in "biufc":
        raise CheckpointError(f"{place}: an array of {array.dtype} has no form on disk; use a numeric one")
    name = str(len(tensors))
    native = array.dtype.name in _NATIVE
    flat = np.ascontiguousarray(array).reshape(-1)
    tensors[name] = flat if native else flat.view(np.uint8)
    packed: dict[str, Any] = {"a": name, "s": list(array.shape)}
    if not native:
        packed["y"] = array.dtype.str
    if isinstance(value, np.generic):
        packed["g"] = 1
    return packed


def _unpack(node: Any, tensors: dict[str, np.ndarray]) -> Any:
    if not isinstance(node, dict):
        return node
    if "d" in node:
        return {key: _unpack(child, tensors) for key, child in node["d"]}
    if "l" in node:
        return [_unpack(child, tensors) for child in node["l"]]
    if "t" in node:
        return tuple(_unpack(child, tensors) for child in node["t"])
    if "torch" in node:
        import torch

        return torch.from_numpy(np.array(_unpack(node["torch"], tensors)))
    array = tensors[node["a"]]
    if "y" in node:
        array = array.view(np.dtype(node["y"]))
    array = np.array(array.reshape(node["s"]))
    return array[()] if "g" in node else array
