"""Fixtures of all tests in Python.

Run them with etc/test, which starts a PostgreSQL server of its own and sets
  EVT_TEST_POSTGRES  a superuser's connection string (libpq URI or keywords), and
  EVT_TEST_BIN       the directory of the built programs.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.register_assert_rewrite("Harness")

from Harness.database import Cluster  # noqa: E402


def _given(variable: str) -> str:
    value = os.environ.get(variable, "")
    if not value:
        pytest.exit(f"{variable} is not set: run these tests with etc/test", returncode=2)
    return value


@pytest.fixture(scope="session")
def cluster():
    """The PostgreSQL server for the tests."""
    cluster = Cluster(_given("EVT_TEST_POSTGRES"))
    yield cluster
    cluster.close()


@pytest.fixture(scope="session")
def binaries() -> Path:
    """The directory of the built programs."""
    directory = Path(_given("EVT_TEST_BIN"))
    for name in ("evt", "evt-generator", "evt-pusher"):
        if not (directory / name).exists():
            pytest.exit(f"no {name} in EVT_TEST_BIN={directory}: run these tests with etc/test", returncode=2)
    return directory
