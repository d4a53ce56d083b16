"""What every test shares: fedbook first, quick scale, no data folder."""

import pytest

import fedbook  # noqa: F401  (before any test imports TensorFlow)


@pytest.fixture(autouse=True)
def quick_scale(monkeypatch):
    monkeypatch.delenv("FEDBOOK_SCALE", raising=False)
    monkeypatch.delenv("FEDBOOK_DATA_DIR", raising=False)
