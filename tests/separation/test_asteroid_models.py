from __future__ import annotations

import subprocess
import sys

import pytest

from auralnav.errors import MissingDependencyError
from auralnav.separation.separator import DPRNNSeparator


def run(code: str) -> str:
    """Output of a fresh interpreter in which every warning is an error."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_the_package_brings_neither_torch_nor_asteroid():
    code = "import auralnav.separation, sys; print([m for m in ('torch', 'asteroid', 'scipy') if m in sys.modules])"
    assert run(code) == "[]"


def test_the_separators_module_needs_no_asteroid_until_one_is_built(monkeypatch):
    code = "import auralnav.separation.streaming, sys; print('asteroid' in sys.modules)"
    assert run(code) == "False"
    for name in [name for name in sys.modules if name.partition(".")[0] == "asteroid"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "asteroid", None)
    with pytest.raises(MissingDependencyError, match=r"asteroid .*pip install 'auralnav\[separation\]'") as caught:
        DPRNNSeparator()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("error", ["OSError('no libc10_cuda.so')", "RuntimeError('another torch')"])
def test_a_torchaudio_that_breaks_on_import_stops_nothing(tmp_path, error):
    (tmp_path / "torchaudio.py").write_text(f"raise {error}")
    (tmp_path / "torch_stoi.py").write_text("import torchaudio")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from auralnav.separation.asteroid_models import dprnn_tasnet\n"
        "print(dprnn_tasnet().__name__, 'torch_stoi' in sys.modules)"
    )
    assert run(code) == "DPRNNTasNet False"


def test_an_import_of_asteroid_that_failed_before_does_not_stop_ours(tmp_path):
    (tmp_path / "torch_stoi.py").write_text("raise OSError('no libc10_cuda.so')")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "try:\n    import asteroid\nexcept OSError:\n    print('broken')\n"
        "from auralnav.separation.asteroid_models import dprnn_tasnet\n"
        "print(dprnn_tasnet().__name__)"
    )
    assert run(code).split() == ["broken", "DPRNNTasNet"]
