"""The typed schema of an experiment that trains a separator (`algorithm: separator`)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from auralnav.configs.schema import (
    Fraction,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Strict,
    TrackingConfig,
)

LARGEST_SOURCES = 8


class NetworkConfig(Strict):
    """Sizes of the separator, as `auralnav.separation.separator.SeparatorConfig` explains them."""

    sources: Annotated[int, Field(ge=1, le=LARGEST_SOURCES)] = 4  # outputs
    sample_rate: Annotated[int, Field(ge=8000, le=48000)] = 16_000  # Hz
    ears: Literal[1, 2] = 1
    filters: PositiveInt = 64
    kernel: PositiveInt = 32
    stride: PositiveInt = 16
    bottleneck: PositiveInt = 64
    hidden: PositiveInt = 64
    chunk: PositiveInt = 50
    hop: PositiveInt = 25
    repeats: PositiveInt = 2
    layers: PositiveInt = 1
    cell: Literal["LSTM", "GRU", "RNN"] = "LSTM"
    bidirectional: bool = True
    multiply: bool = False
    norm: Literal["gLN", "cLN"] = "gLN"
    mask: Literal["sigmoid", "relu", "softmax", "tanh", "linear"] = "sigmoid"
    encoding: Literal["linear", "relu"] = "linear"


class MixturesConfig(Strict):
    """What the separator hears in training. Shares are probabilities, levels in decibels, times in seconds."""

    rooms: PositiveInt = 2_048  # rendered before the training begins: 0.4 MB each
    places: PositiveInt = 5  # of sources in each room
    rt60: tuple[PositiveFloat, PositiveFloat] = (0.15, 0.6)
    anechoic_share: Fraction = 0.25
    instances: Annotated[int, Field(ge=1, le=1016)] = 64  # of each class of sounds
    active: list[NonNegativeFloat] = Field(default_factory=lambda: [0.15, 0.4, 0.25, 0.2])  # 1, 2, … sources
    level_db: NonNegativeFloat = 5.0  # each source lies so far or less from their common level …
    natural_share: Fraction = 0.3  # … but here distance and room decide
    gate_share: Fraction = 0.2  # of sources that begin or end inside the segment
    cold_share: Fraction = 0.1  # of mixtures that begin with silence, as an episode's first windows do
    walk_share: Fraction = 0.5  # of mixtures in which the agent acts every 0.25 s
    noise_share: Fraction = 0.25  # of mixtures with a diffuse background
    noise_snr_db: tuple[float, float] = (10.0, 30.0)

    @model_validator(mode="after")
    def _ranges_are_in_order(self) -> MixturesConfig:
        for key in ("rt60", "noise_snr_db"):
            low, high = getattr(self, key)
            if low > high:
                raise ValueError(f"{key} [{low:g}, {high:g}] runs backwards; give the least first")
        if not sum(self.active) > 0:
            raise ValueError("active: all shares are 0; give one above 0")
        return self


class SeparatorTrainConfig(Strict):
    """How long, from which seed, how, and what is saved when. A step is one update on one batch."""

    total_steps: PositiveInt = 20_000
    initial: str | None = None  # begin with the weights of this separator, a path or a name; its network is as large
    time_limit: PositiveFloat | None = None  # s of one process; then it stops as after its last step
    seed: Annotated[int, Field(ge=0, lt=1_000_000)] = 0  # validation's rooms have seeds above
    batch_size: PositiveInt = 64
    segment: Annotated[float, Field(ge=0.5, le=10.0)] = 1.0  # s
    learning_rate: PositiveFloat = 1e-3
    learning_rate_final: PositiveFloat = 1e-5  # a half cosine goes down to this …
    decay_share: Fraction = 1.0  # … over the last share of the steps; until then a resume may change total_steps
    warmup_steps: NonNegativeInt = 500
    weight_decay: NonNegativeFloat = 1e-4
    max_grad_norm: PositiveFloat = 5.0
    average: Annotated[float, Field(ge=0, lt=1)] = 0.999  # of the weights that are kept, over steps
    loss: Literal["snr", "si_sdr"] = "snr"  # snr asks for the sources' levels too
    silence_weight: PositiveFloat = 0.1  # of a silent target against an active one …
    silence_warmup_steps: NonNegativeInt = 0  # … reached linearly from 0 in so many steps
    precision: Literal["bf16", "tf32", "fp32"] = "tf32"  # of products on CUDA
    eval_every: NonNegativeInt = 1_000  # 0 = never
    eval_mixtures: PositiveInt = 100  # of each kind
    log_every: PositiveInt = 100
    checkpoint_every: NonNegativeInt = 2_000  # 0 = only at the end
    threads: PositiveInt = 2  # that render rooms, and torch's on a CPU
    device: Literal["auto", "cpu", "cuda"] = "auto"
    deterministic: bool = False  # on CUDA; a CPU always is


class SeparatorExperiment(Strict):
    """One experiment file that trains a separator: its size, its mixtures and its training."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    description: str = ""
    algorithm: Literal["separator"]
    separator: NetworkConfig = Field(default_factory=NetworkConfig)
    mixtures: MixturesConfig = Field(default_factory=MixturesConfig)
    train: SeparatorTrainConfig = Field(default_factory=SeparatorTrainConfig)
    tracking: TrackingConfig = Field(default_factory=TrackingConfig)

    @model_validator(mode="after")
    def _parts_fit(self) -> SeparatorExperiment:
        most = len(self.mixtures.active)
        for key, have in (("separator.sources", self.separator.sources), ("mixtures.places", self.mixtures.places)):
            if have < most:
                raise ValueError(f"{key}: {have} is below the {most} sources of mixtures.active; use at least {most}")
        samples = round(self.train.segment * self.separator.sample_rate)
        if self.separator.kernel > samples:
            raise ValueError(
                f"separator.kernel: {self.separator.kernel} is longer than the {samples} samples of train.segment; use "
                f"a shorter one, such as 64"
            )
        if self.train.learning_rate_final > self.train.learning_rate:
            raise ValueError("train.learning_rate_final: is above train.learning_rate; use at most that")
        return self
