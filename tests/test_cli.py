from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from typer.testing import CliRunner

from auralnav import cli_doctor
from auralnav.cli import app, main
from auralnav.configs.load import config_names
from auralnav.envs.registration import ENTRIES


def error_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    return shown


def test_a_mistake_is_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    text = error_of(capsys, "train", "auralnav-easy-dqn", "--set", "dqn.learning_rat=1")
    assert text.startswith(
        "error: --set dqn.learning_rat=1: dqn.learning_rat: unknown key; did you mean learning_rate?"
    )
    assert "no such experiment" in error_of(capsys, "train", "auralnav-easy-dqm")
    assert "no run lies there" in error_of(capsys, "train", "--resume", str(tmp_path))


def test_an_experiment_and_a_run_exclude_each_other():
    result = CliRunner().invoke(app, ["train"])
    assert result.exit_code == 2
    assert "experiment or --resume RUN" in result.output.replace("\n", " ")


def test_lists_name_every_id_and_experiment():
    runner = CliRunner(env={"COLUMNS": "200"})
    shown = runner.invoke(app, ["envs"]).output
    assert all(entry.id in shown for entry in ENTRIES)
    shown = runner.invoke(app, ["configs"]).output
    assert all(name in shown for name in config_names())


def test_doctor_finds_what_the_package_needs():
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["doctor"])
    assert result.exit_code == 0
    for word in ("packages", "torch", "ssm numba", "numba cache", "sound files", "H.264", "wandb"):
        assert word in result.output


def test_doctor_shows_an_extra_in_its_brackets(monkeypatch: pytest.MonkeyPatch):
    found = cli_doctor.Check("wandb", "not installed: pip install 'auralnav[track]'", None)
    monkeypatch.setattr(cli_doctor, "checks", lambda: [found])
    assert "auralnav[track]" in CliRunner(env={"COLUMNS": "200"}).invoke(app, ["doctor"]).output


def test_a_place_that_cannot_be_written_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    (tmp_path / "file").touch()
    record = tmp_path / "file" / "x.json"
    text = error_of(
        capsys, "eval", "random", "--env", "CartPole-v1", "--episodes", "1", "--record", str(record)
    )
    assert text.startswith("error: ") and str(tmp_path) in text and "choose another place" in text


def test_quitting_a_training_at_once_says_what_stands(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    from auralnav.agents import train

    def quit_at_once(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "start", quit_at_once)
    with pytest.raises(SystemExit) as caught:
        main(["train", "auralnav-easy-dqn"])
    assert caught.value.code == 130
    assert "the last checkpoint stands" in capsys.readouterr().err


def test_a_finished_training_says_so_and_how_to_go_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "tiny.yaml"
    config.write_text(
        "name: tiny\nenv: {id: CartPole-v1, num_envs: 2}\n"
        "train: {total_steps: 200, eval_every: 0}\ndqn: {learning_starts: 50, batch_size: 8}\n"
    )

    def last_line(*arguments: str) -> str:
        with pytest.raises(SystemExit) as caught:
            main(["train", *arguments])
        assert caught.value.code == 0
        return capsys.readouterr().out.strip().splitlines()[-1]

    assert last_line(str(config), "--run-dir", "run").startswith("done: 200 steps, in ")
    again = last_line("--resume", "run")
    assert again.startswith("complete: all 200 steps are done") and "steps/s" not in again
    command = again.rpartition("auralnav train ")[2].split()
    assert last_line(*command).startswith("done: 400 steps, 200 of them now, in ")


def test_warnings_are_one_line_each_without_their_source(capsys: pytest.CaptureFixture[str]):
    @app.command("grumble", hidden=True)
    def grumble() -> None:
        warnings.warn("a.wav holds\nno sound", UserWarning, stacklevel=1)

    before = warnings.showwarning
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            with pytest.raises(SystemExit):
                main(["grumble"])
    finally:
        app.registered_commands.pop()
    assert capsys.readouterr().err == "warning: a.wav holds no sound\n"
    assert warnings.showwarning is before


def test_lists_keep_names_whole_in_eighty_columns():
    runner = CliRunner(env={"COLUMNS": "80"})
    shown = runner.invoke(app, ["configs"]).output
    assert all(name in shown for name in config_names())
    assert all(entry.id in runner.invoke(app, ["envs"]).output for entry in ENTRIES)


def test_doctor_names_a_package_that_is_missing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cli_doctor, "PACKAGES", ("numpy", "soxr-of-tomorrow"))
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["doctor"])
    assert result.exit_code == 1
    assert "missing: pip install soxr-of-tomorrow" in result.output


def test_doctor_checks_each_backend_of_the_state_space_layers(monkeypatch: pytest.MonkeyPatch):
    from auralnav.policies.ssm import check

    reports = [
        check.BackendReport("torch", True, "", 1e-6),
        check.BackendReport("numba", True, "", 0.5),
        check.BackendReport("cuda", False, "RuntimeError: no device", None),
    ]
    monkeypatch.setattr(check, "check_backends", lambda: reports)
    monkeypatch.delenv("AURALNAV_SSM_BACKEND", raising=False)
    found = {one.name: one for one in cli_doctor.checks()}
    assert [found[f"ssm {name}"].ok for name in ("torch", "numba", "cuda")] == [True, False, None]
    assert "1.0e-06" in found["ssm torch"].found
    assert "AURALNAV_SSM_BACKEND" in found["ssm numba"].found
    assert "no device" in found["ssm cuda"].found


def test_doctor_tells_whether_sources_can_be_separated(monkeypatch: pytest.MonkeyPatch):
    def found() -> cli_doctor.Check:
        return next(one for one in cli_doctor.checks() if one.name == "separation")

    assert found().ok and "DPRNN" in found().found
    for name in [name for name in sys.modules if name.partition(".")[0] == "asteroid"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "asteroid", None)
    assert found().ok is None and "pip install 'auralnav[separation]'" in found().found


def test_doctor_refuses_a_forced_backend_that_cannot_run(monkeypatch: pytest.MonkeyPatch):
    from auralnav.policies.ssm import check

    reports = [check.BackendReport("cuda", False, "RuntimeError: no device", None)]
    monkeypatch.setattr(check, "check_backends", lambda: reports)
    for forced, name in (("cuda", "ssm cuda"), ("numbra", "ssm")):
        monkeypatch.setenv("AURALNAV_SSM_BACKEND", forced)
        (found,) = [one for one in cli_doctor.checks() if one.name == name]
        assert found.ok is False
        assert "unset" in found.found


def test_doctor_knows_that_a_cache_folder_can_still_be_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "not" / "yet"))
    (check,) = [check for check in cli_doctor.checks() if check.name == "numba cache"]
    assert check.ok


def test_help_needs_no_heavy_library():
    code = (
        "import sys\nfrom auralnav.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'stable_baselines3', 'numba', 'scipy', 'gymnasium.vector'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if {'torch', 'stable_baselines3', 'numba'} & heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
