import pytest

import fedbook


def test_quick_is_the_default():
    assert fedbook.current_scale() == "quick"
    assert fedbook.scaled(quick=1, full=2) == 1


def test_full(monkeypatch):
    monkeypatch.setenv("FEDBOOK_SCALE", "full")
    assert fedbook.scaled(quick=1, full=2) == 2


@pytest.mark.parametrize("value", ["Full", "", "10"])
def test_any_other_value_is_refused_by_name(monkeypatch, value):
    monkeypatch.setenv("FEDBOOK_SCALE", value)
    with pytest.raises(ValueError, match=f"FEDBOOK_SCALE is {value!r}.*quick, full"):
        fedbook.current_scale()
