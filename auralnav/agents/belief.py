"""Where the sources may be: a map of log-likelihoods over places, in the frame of the agent's own odometry.

Every step adds what the ears say about each direction. Mirror images (front and back sound alike to two ears)
agree at one heading only, and a wrong range at one place only, so turning and walking sort them out.
"""

from __future__ import annotations

import numpy as np


class PlaceBelief:
    """Log-likelihood that a source is at a place, on a square grid around the start.

    Args:
        reach: half the side of the grid, metres.
        cell: its spacing, metres.
        memory: share of the evidence kept at each step (1 = for ever; less for sources that move).
        doubt: floor of a step's likelihood; a direction that the ears contradict once can still come back.
        typical_range: metres at which a source is expected before anything is known about its distance.
        forget_visits: steps after which a visited place may hold a source again (None = never).
    """

    def __init__(
        self,
        reach: float = 12.0,
        cell: float = 0.25,
        memory: float = 0.6,
        doubt: float = 0.05,
        typical_range: float = 3.0,
        forget_visits: int | None = None,
    ) -> None:
        self.cell, self.reach = cell, reach
        self.memory, self.doubt, self.forget_visits = memory, doubt, forget_visits
        count = round(2 * reach / cell) + 1
        axis = (np.arange(count) - count // 2) * cell
        self.x, self.y = (grid.astype(np.float32) for grid in np.meshgrid(axis, axis, indexing="ij"))
        self.log = np.zeros_like(self.x)
        distance = np.hypot(self.x, self.y)
        # Flat near the typical range and falling slowly on both sides: it only breaks ties along a ray.
        self.prior = (-0.5 * np.square((distance - typical_range) / 6.0)).astype(np.float32)
        self.visited = np.full(self.x.shape, -(10**6), dtype=np.int32)
        self.step = 0

    def hear(self, response: np.ndarray, x: float, y: float, heading: float) -> None:
        """Add the evidence of one step.

        Args:
            response: steered response [A] in −1..1, index k for azimuth k · 2π / A left of the heading.
            x: the agent's place in the odometry frame, metres.
            y: likewise.
            heading: radians.
        """
        self.step += 1
        best = float(response.max())
        if best <= 0.0:
            return
        gain = np.log((self.doubt + np.maximum(response, 0.0)) / (self.doubt + best)).astype(np.float32)
        count = response.shape[0]
        angle = (np.arctan2(self.y - y, self.x - x) - heading) * np.float32(count / (2.0 * np.pi))
        floor = np.floor(angle)
        share = angle - floor
        index = floor.astype(np.int32) % count
        self.log *= self.memory
        self.log += (1.0 - share) * gain[index] + share * gain[(index + 1) % count]

    def visit(self, x: float, y: float, radius: float) -> None:
        """Rule out places within `radius` metres: a source there would have been found."""
        self.visited[np.square(self.x - x) + np.square(self.y - y) < radius * radius] = self.step

    def open_places(self) -> np.ndarray:
        """Places not ruled out by a visit, bool [H, W]."""
        if self.forget_visits is None:
            return self.visited < 0
        return self.visited < self.step - self.forget_visits

    def best(self, bonus: np.ndarray | float = 0.0) -> tuple[float, float, float]:
        """The likeliest open place (x, y) in metres and its score; `bonus` [H, W] is added to the scores."""
        score = np.where(self.open_places(), self.log + self.prior + bonus, -np.inf)
        index = int(np.argmax(score))
        return float(self.x.flat[index]), float(self.y.flat[index]), float(score.flat[index])

    def near(self, x: float, y: float, width: float) -> np.ndarray:
        """A bump of height 1 and `width` metres around (x, y), float32 [H, W]."""
        return np.exp(-0.5 * (np.square(self.x - x) + np.square(self.y - y)) / (width * width))
