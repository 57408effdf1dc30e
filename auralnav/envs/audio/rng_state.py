"""A NumPy generator's state as plain arrays, so that states hold no pickles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

_KEY = "np_random"
_WORD = 2**64


def generator_state(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """{"np_random": uint64 [6]}: PCG64's state and increment (high, low words) and its spare 32 bits."""
    state = rng.bit_generator.state
    if state["bit_generator"] != "PCG64":
        raise TypeError(f"np_random runs on {state['bit_generator']}; use numpy.random.default_rng (PCG64)")
    number, increment = state["state"]["state"], state["state"]["inc"]
    words = [*divmod(number, _WORD), *divmod(increment, _WORD), state["has_uint32"], state["uinteger"]]
    return {_KEY: np.array(words, dtype=np.uint64)}


def generator_from(values: Mapping[str, Any]) -> np.random.Generator:
    """The generator that `generator_state` described."""
    words = [int(word) for word in np.asarray(values[_KEY], dtype=np.uint64)]
    bits = np.random.PCG64()
    bits.state = {
        "bit_generator": "PCG64",
        "state": {"state": words[0] * _WORD + words[1], "inc": words[2] * _WORD + words[3]},
        "has_uint32": words[4],
        "uinteger": words[5],
    }
    return np.random.Generator(bits)
