"""What Prometheus and Grafana are given in etc/. Run these tests with etc/test."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS = ROOT / "etc/prometheus"


def promtool(*arguments: str | Path) -> None:
    """Runs promtool; shows what it says if it fails."""
    done = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, f"promtool {' '.join(map(str, arguments))}\n{(done.stdout + done.stderr)[:5000]}"
