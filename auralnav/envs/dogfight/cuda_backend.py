"""Worlds on a CUDA device: their arrays, and the launches of `cuda`'s kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import cuda as _numba_cuda

from auralnav.envs.dogfight import cuda as kernels
from auralnav.envs.dogfight import cuda_observe as observing
from auralnav.envs.dogfight import layout as at
from auralnav.errors import ActionError, ConfigError

cuda: Any = _numba_cuda


class CudaBackend:
    """Puts arrays on the current CUDA device and steps worlds there.

    Attributes:
        stream: of the launches, as the address that `torch.cuda.Stream.cuda_stream` holds; 0 = the default stream,
            which torch's is too.

    Raises:
        ConfigError: no CUDA device, or no driver for it.
    """

    def __init__(self) -> None:
        if not cuda.is_available():
            raise ConfigError(
                "device='cuda': Numba sees no CUDA device; pip install 'auralnav[cuda]' beside a driver, or take 'cpu'"
            )
        self.stream = 0
        self._wrong = cuda.to_device(np.zeros(1, np.int32))

    def put(self, array: np.ndarray) -> Any:
        """A copy of the array on the device; torch shares it by `torch.as_tensor(…, device="cuda")`."""
        return cuda.to_device(array)

    def get(self, array: Any) -> np.ndarray:
        """A copy of a device array on the host."""
        return array.copy_to_host()

    def set(self, array: Any, values: np.ndarray) -> None:
        """Overwrite a device array."""
        array.copy_to_device(np.ascontiguousarray(values))

    def take_actions(self, given: Any, actions: Any, check: bool) -> None:
        """Copy integer actions [W, n, 3], on the device or not, into `actions`.

        Args:
            given: anything with `__cuda_array_interface__`, or a NumPy array.
            actions: device array int32 [W, 8, 3].
            check: look for classes that do not exist, which waits for the device.

        Raises:
            ActionError: another shape, no integers, or a class that does not exist.
        """
        source = cuda.as_cuda_array(given) if hasattr(given, "__cuda_array_interface__") else np.asarray(given)
        worlds = actions.shape[0]
        if source.ndim != 3 or source.shape[0] != worlds or source.shape[2] != 3 or source.shape[1] > at.SLOTS:
            raise ActionError(f"actions are {source.shape}, not ({worlds}, ships, 3) for up to {at.SLOTS} ships")
        if np.dtype(source.dtype).kind not in "iu":
            raise ActionError(f"actions are {source.dtype}, not integers: power 0 to 2, turn 0 to 6, shoot 0 or 1")
        if isinstance(source, np.ndarray):
            source = cuda.to_device(np.ascontiguousarray(source))
        threads = worlds * source.shape[1]
        kernels.take_actions_kernel[-(-threads // 256), 256, self._launch_stream()](source, actions, self._wrong)
        if check and self._wrong.copy_to_host()[0]:
            self._wrong.copy_to_device(np.zeros(1, np.int32))
            raise ActionError("an action is outside its classes: power 0 to 2, turn 0 to 6, shoot 0 or 1")

    def step(
        self, arrays: tuple[Any, Any, Any, Any], rules: tuple[int, int, np.float32, np.float32], restart: bool,
        decides: bool, steps: int,
    ) -> None:  # fmt: skip
        """Launch `steps` steps of (state, clock, key, actions); does not wait for them."""
        blocks = -(-arrays[0].shape[0] * at.SLOTS // kernels.THREADS)
        launch = kernels.step_kernel[blocks, kernels.THREADS, self._launch_stream()]
        launch(*arrays, rules, restart, decides, steps)

    def observe(self, state: Any, intrinsic: Any, edges: Any) -> None:
        """Launch `cuda_observe.observe_kernel`."""
        observing.observe_kernel[state.shape[0], observing.THREADS, self._launch_stream()](state, intrinsic, edges)

    def flatten(self, state: Any, flat: Any, ships: int) -> None:
        """Launch `cuda_observe.flatten_kernel`."""
        observing.flatten_kernel[state.shape[0], observing.THREADS, self._launch_stream()](state, flat, ships)

    def _launch_stream(self) -> Any:
        return cuda.external_stream(self.stream) if self.stream else 0
