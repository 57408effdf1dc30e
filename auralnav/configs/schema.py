"""The typed schema of an experiment file: what may be set, in which range, with which default.

`extra="forbid"` everywhere: an unknown key is an error, never ignored. Turning a YAML file into a checked
`ExperimentConfig`, with errors that name the key and the line, is the work of `auralnav.configs.load`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

PositiveInt = Annotated[int, Field(ge=1)]
NonNegativeInt = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Range = PositiveFloat | tuple[PositiveFloat, PositiveFloat]
Speed = Annotated[float, Field(gt=0, le=1)]
CountRange = NonNegativeInt | tuple[NonNegativeInt, NonNegativeInt]

AURAL_PREFIX = "AuralNav"


class Strict(BaseModel):
    """A section of an experiment: unknown keys and numbers that are not finite are errors, also when set later."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True, allow_inf_nan=False)


class AudioEnvConfig(Strict):
    """An environment and how its worlds are run. A task argument left out keeps the id's own default.

    Lengths in metres, times in seconds, levels in decibels, angles (`_deg`) in degrees.
    """

    id: str = "AuralNav-v0"  # another package's as "package:Id-v0"
    num_envs: PositiveInt = 16
    threads: PositiveInt = 1  # workers of the vector environment
    history: PositiveInt = 1  # frames stacked; 1 = none
    previous_action: bool = False  # append the previous action to each frame; with policy.memory by default
    kwargs: dict[str, Any] = Field(default_factory=dict)  # arguments of an id that is not AuralNav's

    num_sources: Annotated[int, Field(ge=1, le=4)] | None = None
    room: Literal["shoebox", "polygon"] | None = None
    room_size: tuple[Range, Range, Range] | None = None
    rt60: NonNegativeFloat | tuple[PositiveFloat, PositiveFloat] | None = None  # 0 = anechoic
    band_rt60: dict[PositiveFloat, PositiveFloat] | None = None  # octave centre, Hz: share of rt60
    head: str | None = None  # sphere | none | path to a .sofa file
    renderer: Literal["hybrid", "ism"] | None = None
    max_order: Annotated[int, Field(ge=0, le=30)] | None = None
    moving: bool | None = None
    source_speed: Speed | tuple[Speed, Speed] | None = None
    distractors: Annotated[int, Field(ge=0, le=4)] | None = None
    noise_snr_db: float | None = None
    fs: Annotated[int, Field(ge=4000, le=96000)] | None = None
    step_duration: PositiveFloat | None = None
    horizon: PositiveInt | None = None
    found_radius: PositiveFloat | None = None
    step_size: PositiveFloat | None = None
    turn_deg: Annotated[float, Field(gt=0, le=180)] | None = None
    obs_mode: Literal["waveform", "spectrogram", "cues", "all"] | None = None
    expose_pose: bool | None = None
    sounds: str | None = None  # procedural | path of a folder of sound files
    split: Literal["train", "test"] | None = None
    continuous: bool | None = None
    reward: Literal["shaped", "otoworld"] | None = None
    found_reward: NonNegativeFloat | None = None
    completion_reward: NonNegativeFloat | None = None
    step_penalty: NonNegativeFloat | None = None
    shaping_scale: NonNegativeFloat | None = None
    distractor_penalty: NonNegativeFloat | None = None
    layout: Literal["l", "corridor", "two_rooms", "random"] | None = None
    num_obstacles: CountRange | None = None

    @property
    def is_aural(self) -> bool:
        """Whether the id is one of this package's audio environments."""
        return self.id.startswith(AURAL_PREFIX)

    def task_kwargs(self) -> dict[str, Any]:
        """The constructor arguments that this config sets (defaults of the id left out)."""
        if not self.is_aural:
            return dict(self.kwargs)
        values = self.model_dump(exclude=set(RUN_KEYS), exclude_none=True)
        return {**values, **self.kwargs}

    @model_validator(mode="after")
    def _task_keys_fit_the_id(self) -> AudioEnvConfig:
        if not self.is_aural:
            given = sorted(self.model_dump(exclude=set(RUN_KEYS), exclude_none=True))
            if given:
                raise ValueError(
                    f"{', '.join(given)}: only AuralNav ids take this; "
                    f"give arguments of {self.id} under env.kwargs"
                )
        return self


RUN_KEYS = ("id", "num_envs", "threads", "history", "previous_action", "kwargs")
"""Keys of `AudioEnvConfig` that say how the worlds are run and are no arguments of the environment."""


class CoreConfig(Strict):
    """The memory core that `policy.memory` names, between the features and the hidden layers."""

    d_model: PositiveInt = 64  # width of its tokens and of its output
    n_layers: PositiveInt = 1
    kwargs: dict[str, int | str] = Field(default_factory=dict)  # of this core: d_state, n_heads, backend …

    @model_validator(mode="after")
    def _each_key_in_one_place(self) -> CoreConfig:
        for key in ("d_model", "n_layers"):
            if key in self.kwargs:
                raise ValueError(f"policy.core.kwargs.{key}: give it as policy.core.{key}")
        return self


class PolicyConfig(Strict):
    """The network: hidden layers after the features or the memory, shared by both algorithms."""

    net_arch: list[PositiveInt] = Field(default_factory=lambda: [256, 256])
    activation: Literal["relu", "tanh", "elu", "silu"] = "relu"
    memory: Literal["none", "mamba", "mamba2", "gru", "lstm", "transformer"] = "none"
    core: CoreConfig = Field(default_factory=CoreConfig)
    cnn_features: PositiveInt = 128  # size of a spectrogram's features
    standardise: bool = False  # flat inputs to mean 0, variance 1, by statistics of the first 200 000


class SeparationConfig(Strict):
    """What a policy has instead of the waveform: cues of each source that is told apart (env.obs_mode: waveform).

    `frozen`: the worlds are observed through the masks, and the policy learns from the cues. `finetune`: the policy
    hears the waveform, and its gradients reach the separator, which sees the last `env.history` steps.
    """

    separator: Literal["none", "frozen", "finetune"] = "none"
    masks: Literal["learned", "oracle", "mixture"] = "learned"  # oracle: of the true images; mixture: not told apart
    weights: str = "separator-small"  # path of a separator, or the name of one that comes with the package
    cues: Literal["masked", "seed"] = "masked"
    timbre: Literal[0, 16] = 0  # numbers a row says what its source sounds like with: its level in bands
    sources: Annotated[int, Field(ge=1, le=8)] = 4  # rows of cues; with learned masks the separator's outputs
    rows: Annotated[int, Field(ge=1, le=8)] = 1  # that the network looks at: the attended source's, then the loudest
    window_seconds: PositiveFloat = 0.5  # frozen: sound that the separator hears, the step's own included
    device: Literal["auto", "cpu", "cuda"] = "cpu"  # frozen: where the separator runs
    threads: PositiveInt = 1  # frozen, on the CPU: among which the worlds are shared
    learning_rate: PositiveFloat = 1e-5  # finetune: of the separator; falls as the learner's does

    @model_validator(mode="after")
    def _as_many_rows_as_there_are(self) -> SeparationConfig:
        if self.rows > self.sources:
            raise ValueError(
                f"separation.rows: {self.rows} of {self.sources} sources; give at most {self.sources}"
            )
        return self

    @model_validator(mode="after")
    def _gradients_need_a_separator(self) -> SeparationConfig:
        if self.separator == "finetune" and self.masks != "learned":
            raise ValueError(
                f"separation.masks: {self.masks} has nothing to learn; use learned, or separator: frozen"
            )
        return self


class TrainConfig(Strict):
    """How long, from which seed, and what is saved when. All counts are environment steps."""

    total_steps: PositiveInt = 200_000
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    eval_every: NonNegativeInt = 25_000  # 0 = never
    eval_episodes: PositiveInt = 50
    eval_seed: Annotated[int, Field(ge=0, lt=2**31)] = 1_000_000
    log_every: PositiveInt = 2_000
    checkpoint_every: NonNegativeInt = 50_000  # 0 = only at the end
    torch_threads: PositiveInt = 1
    device: Literal["auto", "cpu", "cuda"] = "auto"
    deterministic: bool = True


class _Learner(Strict):
    learning_rate: PositiveFloat = 3e-4
    learning_rate_final: PositiveFloat | None = None  # linear schedule down to this
    batch_size: Annotated[int, Field(ge=2)] = 256  # DQN with a memory: sequences, not steps
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.99
    max_grad_norm: PositiveFloat = 10.0
    reward_scale: PositiveFloat = 1.0  # what the learner sees of each reward; records keep the task's own


class DQNConfig(_Learner):
    """SB3's DQN (names as there), with exploration drawn for each world and double Q-learning by choice."""

    buffer_size: PositiveInt = 100_000
    learning_starts: NonNegativeInt = 5_000
    n_steps: PositiveInt = 1
    train_freq: PositiveInt = 1  # vector steps between updates
    gradient_steps: Annotated[int, Field(ge=-1)] = 1
    target_update_interval: PositiveInt = 5_000
    tau: Annotated[float, Field(gt=0, le=1)] = 1.0
    exploration_initial: Fraction = 1.0
    exploration_final: Fraction = 0.05
    exploration_fraction: Annotated[float, Field(gt=0, le=1)] = 0.3
    double: bool = True
    dueling: bool = False  # a shared value and advantages (Wang et al., 2016)
    seq_len: PositiveInt = 32  # with a memory: steps a sequence learns from, and how far gradients reach
    burn_in: NonNegativeInt = 8  # with a memory: steps before them that refresh the stored state
    rescale: bool = False  # with a memory: learn h(Q) instead of Q (Pohlen et al., 2018)


class PPOConfig(_Learner):
    """SB3's PPO, names as there."""

    n_steps: PositiveInt = 128  # per world and rollout
    n_epochs: PositiveInt = 4
    gae_lambda: Fraction = 0.95
    clip_range: PositiveFloat = 0.2
    clip_range_final: PositiveFloat | None = None
    clip_range_vf: PositiveFloat | None = None
    normalize_advantage: bool = True
    ent_coef: NonNegativeFloat = 0.01
    vf_coef: NonNegativeFloat = 0.5
    max_grad_norm: PositiveFloat = 0.5
    target_kl: PositiveFloat | None = None
    window: PositiveInt = 32  # with a memory: steps run at once, and how far gradients reach
    core_learning_rate: PositiveFloat | None = None  # with a memory: of its core; falls as learning_rate does


class TrackingConfig(Strict):
    """Weights & Biases, used with `--track`."""

    project: str = "auralnav"
    entity: str | None = None
    tags: list[str] = Field(default_factory=list)


class ExperimentConfig(Strict):
    """One experiment file: an environment, an algorithm and its settings.

    With a `policy.memory` the algorithms are `MemoryDQN` and `MemoryPPO`, and `env.previous_action` is true
    unless it is set.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    description: str = ""
    algorithm: Literal["dqn", "ppo"] = "dqn"
    env: AudioEnvConfig = Field(default_factory=AudioEnvConfig)
    policy: PolicyConfig = Field(default_factory=PolicyConfig)
    separation: SeparationConfig = Field(default_factory=SeparationConfig)
    train: TrainConfig = Field(default_factory=TrainConfig)
    dqn: DQNConfig = Field(default_factory=DQNConfig)
    ppo: PPOConfig = Field(default_factory=PPOConfig)
    tracking: TrackingConfig = Field(default_factory=TrackingConfig)

    @property
    def learner(self) -> DQNConfig | PPOConfig:
        """The section of the algorithm that is used."""
        return self.dqn if self.algorithm == "dqn" else self.ppo

    @property
    def remembers(self) -> bool:
        """Whether the policy has a memory core."""
        return self.policy.memory != "none"

    @property
    def separates(self) -> bool:
        """Whether what the policy gets is told apart by source."""
        return self.separation.separator != "none"

    @property
    def fewest_learning_starts(self) -> int:
        """Environment steps after which the replay surely holds something to learn from."""
        return self.env.num_envs * (self.dqn.burn_in + self.dqn.n_steps) if self.remembers else 0

    @model_validator(mode="after")
    def _previous_action_with_a_memory(self) -> ExperimentConfig:
        if self.remembers and "previous_action" not in self.env.model_fields_set:
            self.env = self.env.model_copy(update={"previous_action": True})
        return self

    @model_validator(mode="after")
    def _memory_fits(self) -> ExperimentConfig:
        ppo, dqn = self.ppo, self.dqn
        if not self.remembers:
            if ppo.core_learning_rate is not None or dqn.rescale:
                key = "dqn.rescale" if dqn.rescale else "ppo.core_learning_rate"
                raise ValueError(f"{key}: only with a memory; set policy.memory or leave it out")
        elif self.algorithm == "ppo":
            for name, steps in (("n_steps", ppo.n_steps), ("batch_size", ppo.batch_size)):
                if steps % ppo.window:
                    raise ValueError(
                        f"ppo.window: {ppo.window} does not divide ppo.{name} {steps}; choose a divisor of it"
                    )
        else:
            if dqn.burn_in >= dqn.seq_len:
                raise ValueError(f"dqn.burn_in: {dqn.burn_in} must be below dqn.seq_len = {dqn.seq_len}")
            blocks = -(-(dqn.burn_in + dqn.seq_len + dqn.n_steps) // dqn.seq_len)
            fewest = blocks * dqn.seq_len * self.env.num_envs
            if dqn.buffer_size < fewest:
                raise ValueError(
                    f"dqn.buffer_size: {dqn.buffer_size} holds no sequence of burn_in + seq_len + n_steps for "
                    f"{self.env.num_envs} worlds; use at least {fewest}"
                )
            if dqn.learning_starts < self.fewest_learning_starts:
                raise ValueError(
                    f"dqn.learning_starts: {dqn.learning_starts} is before the first sequence is whole; "
                    f"use at least {self.fewest_learning_starts}"
                )
        return self

    @model_validator(mode="after")
    def _separation_fits(self) -> ExperimentConfig:
        if not self.separates:
            return self
        if not self.env.is_aural:
            raise ValueError(f"separation.separator: {self.env.id} has no ears; use an AuralNav id, or none")
        if self.env.obs_mode not in (None, "waveform"):
            raise ValueError(f"env.obs_mode: {self.env.obs_mode} cannot be separated; use waveform")
        if self.separation.separator == "finetune" and self.algorithm != "dqn":
            raise ValueError("separation.separator: finetune is for algorithm: dqn; use frozen")
        return self

    @model_validator(mode="after")
    def _consistent(self) -> ExperimentConfig:
        if self.algorithm == "dqn" and self.env.continuous:
            raise ValueError("env.continuous: DQN needs discrete actions; use algorithm: ppo")
        if self.algorithm == "dqn" and self.dqn.buffer_size < self.env.num_envs:
            raise ValueError("dqn.buffer_size: must be at least env.num_envs")
        rollout = self.ppo.n_steps * self.env.num_envs
        if self.algorithm == "ppo" and rollout % self.ppo.batch_size:
            raise ValueError(
                f"ppo.batch_size: {self.ppo.batch_size} does not divide n_steps x num_envs = {rollout}; "
                f"choose a divisor"
            )
        return self
