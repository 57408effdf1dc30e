"""YAML to a checked experiment, with errors of one line that name the key, the place and the fix."""

from __future__ import annotations

import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from auralnav.configs.schema import ExperimentConfig
from auralnav.configs.separator import SeparatorExperiment
from auralnav.errors import ConfigError, did_you_mean

FOLDER = Path(__file__).parent

Experiment = ExperimentConfig | SeparatorExperiment
"""What an experiment file may hold: an agent's training, or a separator's (`algorithm: separator`)."""

_WANTED = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "dict_type": "a section of keys",
    "float_parsing": "a number",
    "float_type": "a number",
    "greater_than": "above {gt}",
    "greater_than_equal": "at least {ge}",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "less_than": "below {lt}",
    "less_than_equal": "at most {le}",
    "list_type": "a list",
    "missing": "a list with more items",
    "model_type": "a section of keys",
    "string_pattern_mismatch": "a text that matches {pattern}",
    "string_type": "a text",
    "too_long": "at most {max_length} items",
    "tuple_type": "a list",
}
"""Types of pydantic's errors in words that fit after "wanted"."""


def config_names() -> list[str]:
    """Names of the experiments that come with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def find_config(name: str | Path) -> Path:
    """Path of an experiment file, given as a path or as the name of one that comes with the package.

    Raises:
        ConfigError: there is no such file.
    """
    path = Path(name)
    is_path = path.suffix in {".yaml", ".yml"} or len(path.parts) > 1
    file = path if is_path else FOLDER / f"{name}.yaml"
    if file.is_file():
        return file
    if (path / "config.yaml").is_file():
        raise ConfigError(f"{path}: a run folder; continue it with --resume {path}")
    known = ", ".join(config_names())
    if is_path:
        raise ConfigError(f"{path}: no such file; give a path of a .yaml file or one of: {known}")
    hint = did_you_mean(str(name), config_names()) or ";"
    raise ConfigError(f"{name}: no such experiment{hint} known: {known}")


def load_config(name: str | Path, overrides: Sequence[str] = ()) -> ExperimentConfig:
    """Read and check an experiment with an agent; see `load_experiment`.

    Raises:
        ConfigError: also where the file is a separator's.
    """
    return _agents(load_experiment(name, overrides), str(name))


def load_experiment(name: str | Path, overrides: Sequence[str] = ()) -> Experiment:
    """Read and check an experiment.

    Args:
        name: a path, or the name of an experiment that comes with the package.
        overrides: `key.sub=value` texts; the value is read as YAML. The last one wins.

    Raises:
        ConfigError: unreadable file, unknown key, value of the wrong type or out of range.
    """
    path = find_config(name)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); give a UTF-8 YAML file") from error
    return parse_experiment(text, overrides, source=str(path))


def _agents(experiment: Experiment, source: str) -> ExperimentConfig:
    if isinstance(experiment, SeparatorExperiment):
        raise ConfigError(f"{source}: trains a separator and has no agent; give an experiment with an env")
    return experiment


def parse_config(text: str, overrides: Sequence[str] = (), source: str = "config") -> ExperimentConfig:
    """Check YAML text of an experiment with an agent; see `parse_experiment`."""
    return _agents(parse_experiment(text, overrides, source), source)


def parse_experiment(text: str, overrides: Sequence[str] = (), source: str = "config") -> Experiment:
    """Check YAML text; `source` is what errors call it. See `load_experiment`."""
    try:
        values = yaml.safe_load(text)
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{source}:{mark.line + 1}" if mark is not None else source
        problem = getattr(error, "problem", None) or "not valid YAML"
        raise ConfigError(f"{where}: {problem}; fix the YAML there") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{source}: holds no settings; write keys such as `name:` and `algorithm:`")
    if (twice := _repeated_key(tree)) is not None:
        raise ConfigError(
            f"{source}:{twice.start_mark.line + 1}: key `{twice.value}` stands here again; remove one of the two"
        )
    overridden: dict[tuple[str, ...], str] = {}
    for override in overrides:
        keys, value = _parse_override(override)
        _set(values, keys, value, override)
        overridden[keys] = override
    model = SeparatorExperiment if values.get("algorithm") == "separator" else ExperimentConfig
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_describe(error, model, source, tree, overridden)) from error


def dump_config(config: Experiment) -> str:
    """The whole resolved config as YAML text; `parse_experiment` of it gives an equal config."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _parse_override(text: str) -> tuple[tuple[str, ...], Any]:
    key, equals, value = text.partition("=")
    keys = tuple(part.strip() for part in key.split("."))
    if not equals or not all(keys):
        raise ConfigError(f"--set {text}: not of the form key.sub=value, for example --set train.seed=1")
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(
            f"--set {text}: the value is not valid YAML; quote it, for example 'key=\"a: b\"'"
        ) from error
    # YAML 1.1 reads 1e-4 as a string; in a command line it is a number.
    if isinstance(parsed, str):
        try:
            parsed = float(parsed)
        except ValueError:
            pass
    return keys, parsed


def _set(values: dict[str, Any], keys: tuple[str, ...], value: Any, override: str) -> None:
    node = values
    for key in keys[:-1]:
        child = node.get(key)
        if child is None:
            child = node[key] = {}
        if not isinstance(child, dict):
            raise ConfigError(f"--set {override}: {key} is a value, not a section")
        node = child
    node[keys[-1]] = value


def _describe(
    error: ValidationError,
    root: type[BaseModel],
    source: str,
    tree: yaml.Node | None,
    overridden: dict[tuple[str, ...], str],
) -> str:
    """One line for the first problem: place, key, cause, allowed values, nearest name."""
    problems = error.errors(include_url=False)
    # A union reports every branch: speak of the first key only, and of its unknown keys before its values.
    problem = min(problems, key=lambda item: item["type"] != "extra_forbidden")
    keys, annotation, model = _resolve(problem["loc"], root)
    name = ".".join(keys)
    if problem["type"] == "extra_forbidden":
        known = list(model.model_fields)
        cause = f"unknown key{did_you_mean(keys[-1], known) or ';'} allowed here: {', '.join(known)}"
    elif problem["type"] == "missing" and len(problem["loc"]) == len(keys):
        cause = "is missing; add it"
    elif problem["type"] in {"value_error", "assertion_error"}:
        cause = problem["msg"].removeprefix("Value error, ")
    else:
        same = [item for item in problems if _resolve(item["loc"], root)[0] == keys]
        # A branch of a union that takes values of this type knows best what is wrong with this one.
        same = [item for item in same if not item["type"].endswith(("_type", "_parsing"))] or same
        wanted = dict.fromkeys(_plain(item) for item in same)
        value = same[0]["input"]
        choices = [choice for choice in _choices(annotation) if isinstance(choice, str)]
        hint = did_you_mean(value, choices) if isinstance(value, str) else ""
        cause = f"got {value!r}, wanted {' or '.join(wanted)}{hint}"
    label = f"{name}: " if name else ""
    for length in range(len(keys), 0, -1):
        if keys[:length] in overridden:
            return f"--set {overridden[keys[:length]]}: {label}{cause}"
    for chosen, text in overridden.items():  # an unknown section is named by its first key alone
        if chosen[: len(keys)] == keys and _line(tree, keys) is None:
            return f"--set {text}: {label}{cause}"
    line = _line(tree, keys)
    return f"{source}{f':{line}' if line else ''}: {label}{cause}"


def _resolve(
    location: tuple[int | str, ...], root: type[BaseModel]
) -> tuple[tuple[str, ...], Any, type[BaseModel]]:
    """Keys of a pydantic location without names of union branches, the last key's type and its section."""
    model = root
    keys: list[str] = []
    annotation: Any = None
    for part in location:
        keys.append(str(part))
        field = model.model_fields.get(str(part))
        annotation = field.annotation if field is not None else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            break
        model = annotation
    return tuple(keys), annotation, model


def _plain(problem: Any) -> str:
    """What pydantic wanted, in words that fit after "wanted"."""
    if problem["type"] in _WANTED:
        context = problem.get("ctx", {})
        limits = {key: f"{value:g}" if isinstance(value, float) else value for key, value in context.items()}
        return _WANTED[problem["type"]].format_map(limits)
    return problem["msg"].removeprefix("Input should be ").partition(", unable to")[0]


def _choices(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is Literal:
        yield from get_args(annotation)
    elif get_origin(annotation) in {Union, types.UnionType}:
        for branch in get_args(annotation):
            yield from _choices(branch)


def _repeated_key(node: yaml.Node | None) -> yaml.Node | None:
    """The first key that its mapping already has: YAML forbids it, PyYAML silently takes the last."""
    if isinstance(node, yaml.SequenceNode):
        return next((found for item in node.value if (found := _repeated_key(item)) is not None), None)
    if not isinstance(node, yaml.MappingNode):
        return None
    seen: set[str] = set()
    for key, value in node.value:
        if str(key.value) in seen:
            return key
        seen.add(str(key.value))
        if (found := _repeated_key(value)) is not None:
            return found
    return None


def _line(tree: yaml.Node | None, keys: tuple[str, ...]) -> int | None:
    """Line (from 1) of the deepest of `keys` that the file holds."""
    line: int | None = None
    node = tree
    for key in keys:
        if not isinstance(node, yaml.MappingNode):
            break
        for key_node, value_node in node.value:
            if key_node.value == key:
                line, node = key_node.start_mark.line + 1, value_node
                break
        else:
            break
    return line
