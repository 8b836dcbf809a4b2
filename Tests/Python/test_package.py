"""The package can be installed, and has what it needs."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

from Harness.processes import run

PACKAGE = Path(__file__).resolve().parents[2] / "etc/python"


def test_it_is_installed_into_an_environment_of_its_own(tmp_path):
    before = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*") if "__pycache__" not in path.parts)
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv")
    python = tmp_path / "venv/bin/python"
    pip = [sys.executable, "-m", "pip", "--python", python, "--quiet", "--disable-pip-version-check"]
    run(*pip, "wheel", "--no-deps", "--wheel-dir", tmp_path, PACKAGE)
    wheel = next(tmp_path.glob("eventstream-*.whl"))
    names = zipfile.ZipFile(wheel).namelist()
    assert "eventstream/py.typed" in names and {Path(name).parts[0].split("-")[0] for name in names} == {"eventstream"}
    run(*pip, "install", wheel)
    found = subprocess.run([python, "-Ic", "import eventstream, sys; print(eventstream.__file__, *sorted(eventstream.__all__)); "
                            "assert 'psycopg' not in sys.modules and 'opentelemetry' not in sys.modules"],
                           capture_output=True, text=True, cwd=tmp_path, check=True).stdout
    assert str(tmp_path) in found and "Receiver" in found
    # Nothing is left in the source tree.
    assert sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*") if "__pycache__" not in path.parts) == before
