"""The kernels of CUDA: their source in Numba's simulator, and on a GPU where there is one (marker `gpu`)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from dogfight_reference import minimum_image
from dogfight_setups import brawl, random_actions

from auralnav.envs.dogfight import layout as at
from auralnav.envs.dogfight.observe import Observer
from auralnav.envs.dogfight.world import DogfightWorld
from auralnav.errors import ActionError, ConfigError

IN_THE_SIMULATOR = """
import numpy as np
import pytest
import test_cuda

test_cuda.same_step(worlds=3, ticks=2, steps=1)
test_cuda.same_observation(2)
test_cuda.same_restart()
test_cuda.refusals()
print("the same")
"""


def pair(worlds: int, teams, seed: int = 0, **kwargs) -> tuple[DogfightWorld, DogfightWorld]:
    """The same games on both devices, all scripts among them."""
    made = []
    for device in ("cpu", "cuda"):
        start = brawl(worlds, teams, seed, **kwargs)
        world = DogfightWorld(worlds, teams, device=device, **kwargs)
        world.restore(start.snapshot())
        for slot, script in enumerate(("pursuit", "focus", "evader", "jouster", "random", "pursuit", "focus")):
            world.command(script, slot, skill=0.5 if slot == 5 else 1.0)
        made.append(world)
    return made[0], made[1]


def differences(cpu: DogfightWorld, cuda: DogfightWorld) -> dict[str, float]:
    """Greatest difference of places, velocities, and of what counts, in worlds whose healths agree; and their share."""
    one, other = cpu.snapshot(), cuda.snapshot()
    a, b = one["state"], other["state"]
    agree = (a[:, at.HEALTH] == b[:, at.HEALTH]).all(1) & (a[:, at.BULLET_LIFE :] == b[:, at.BULLET_LIFE :]).all((1, 2))
    a, b = a[agree], b[agree]
    places, speeds = [at.X, at.Y], [at.VX, at.VY]
    counted = [at.HEALTH, at.COOLDOWN, at.BARREL, at.TEAM, at.SHOTS, at.DEALT, at.FRIENDLY, at.TAKEN]
    return {
        "agree": float(agree.mean()),
        "places": float(np.abs(minimum_image(a[:, places].astype(np.float64) - b[:, places])).max()),
        "bullets": float(np.abs(minimum_image(a[:, 20:40].astype(np.float64) - b[:, 20:40])).max()),
        "speeds": float(np.abs(a[:, speeds] - b[:, speeds]).max()),
        "power": float(np.abs(a[:, at.POWER] - b[:, at.POWER]).max()),
        "counted": float(np.abs(a[:, counted] - b[:, counted]).max()),
        "actions": float((one["actions"][agree] != other["actions"][agree]).mean()),
        "clocks": float((one["clock"][agree] != other["clock"][agree]).mean()),
    }


def same_step(worlds: int, ticks: int, steps: int) -> None:
    """Steps from the same state are the same within the tolerances of one tick."""
    cpu, cuda = pair(worlds, [(4, 4), (1, 1), (2, 3)] * (worlds // 3), action_repeat=ticks)
    rng = np.random.default_rng(0)
    for _ in range(steps):
        actions = random_actions(rng, worlds)
        cpu.step(actions)
        cuda.step(actions)
        found = differences(cpu, cuda)
        assert found["agree"] >= 0.999 and found["actions"] == 0, found
        assert found["counted"] == 0 and found["clocks"] == 0 and found["power"] <= 2e-5, found
        assert found["places"] <= 2e-4 * ticks and found["speeds"] <= 1e-4 * ticks, found
        assert found["bullets"] <= 2e-4 * ticks, found
        cuda.restore(cpu.snapshot())


def same_observation(worlds: int) -> None:
    cpu, cuda = pair(worlds, (2, 3))
    cpu.step()
    cuda.restore(cpu.snapshot())
    one, other = Observer(cpu), Observer(cuda)
    for mine, theirs in zip((*one.observe(), one.flatten()), (*other.observe(), other.flatten()), strict=True):
        assert np.abs(mine - theirs.copy_to_host()).max() <= 2e-6
    assert np.abs(one.edges).max() > 1


def same_restart() -> None:
    """Several steps in a launch, through the end of a game."""
    cpu, cuda = pair(2, (1, 1), horizon=3, action_repeat=2)
    cpu.step(restart=True, steps=4)
    cuda.step(restart=True, steps=4)
    assert (cpu.clock[:, at.CLOCK_EPISODE] == 1).all() and (cpu.clock[:, at.CLOCK_TOTAL] == 5).all()
    found = differences(cpu, cuda)
    assert found["agree"] == 1 and found["clocks"] == 0 and found["places"] <= 1e-3, found


def refusals() -> None:
    world = DogfightWorld(2, (1, 1), device="cuda", action_repeat=1)
    with pytest.raises(ActionError, match="outside its classes"):
        world.step(np.full((2, 2, 3), 5))
    with pytest.raises(ActionError, match="not integers"):
        world.step(np.zeros((2, 2, 3)))
    with pytest.raises(ActionError, match="not \\(2, ships, 3\\)"):
        world.step(np.zeros((3, 2, 3), int))
    with pytest.raises(ConfigError, match="for worlds on the CPU"):
        world.tick(first=True)
    world.step(np.zeros((2, 2, 3), int))
    assert (world.snapshot()["clock"][:, at.CLOCK_TICK] == 1).all()


def test_the_source_of_the_kernels_in_the_simulator(tmp_path: Path) -> None:
    """NumPy warns of uint64 scalars that wrap; in the simulator's Python the random numbers are such scalars."""
    environment = os.environ | {"NUMBA_ENABLE_CUDASIM": "1", "PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore:overflow encountered", "-c", IN_THE_SIMULATOR],
        capture_output=True, text=True, env=environment, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "the same"


def test_a_device_that_is_missing_is_said_in_a_line() -> None:
    from numba import cuda

    if cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(ConfigError, match=r"sees no CUDA device; pip install 'auralnav\[cuda\]'") as caught:
        DogfightWorld(device="cuda")
    assert "\n" not in str(caught.value)


@pytest.mark.gpu
@pytest.mark.parametrize("ticks", [1, 4])
def test_a_gpu_steps_as_the_cpu_does(ticks: int) -> None:
    same_step(worlds=3000, ticks=ticks, steps=60)
    same_restart()
    refusals()


@pytest.mark.gpu
def test_sixty_ticks_on_a_gpu() -> None:
    cpu, cuda = pair(3000, (4, 4), seed=4)
    for world in (cpu, cuda):
        world.command("random")
        world.step(steps=15)
    found = differences(cpu, cuda)
    assert found["agree"] >= 0.995 and found["places"] <= 5e-3, found


@pytest.mark.gpu
def test_a_gpu_observes_as_the_cpu_does() -> None:
    same_observation(500)


@pytest.mark.gpu
def test_torch_shares_the_memory_of_a_gpu() -> None:
    import torch

    world = DogfightWorld(64, (2, 2), device="cuda")
    state = torch.as_tensor(world.state, device="cuda")
    before = state.clone()
    actions = torch.ones((64, 4, 3), dtype=torch.int64, device="cuda")
    world.step(actions)
    torch.cuda.synchronize()
    assert not torch.equal(state, before)
    assert np.array_equal(state.cpu().numpy(), world.snapshot()["state"])
    with pytest.raises(ActionError, match="outside its classes"):
        world.step(actions * 5)
