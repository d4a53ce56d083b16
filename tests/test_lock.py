"""What the lock holds, and that requirements.txt says the same."""

import pathlib
import re
import tomllib

ROOT = pathlib.Path(__file__).parent.parent
LOCKED: dict[str, set[str]] = {}
for package in tomllib.loads((ROOT / "uv.lock").read_text())["package"]:
    LOCKED.setdefault(package["name"], set()).add(package.get("version"))


def version(name: str) -> tuple[int, ...]:
    (only,) = LOCKED[name]
    return tuple(int(part) for part in re.findall(r"\d+", only)[:2])


def test_nothing_of_the_past():
    assert not LOCKED.keys() & {"jaxlib", "jax", "google-vizier", "tensorflow-estimator"}


def test_what_was_asked_for_is_there_and_current():
    assert version("tensorflow") >= (2, 20)
    assert version("tf-keras") == version("tensorflow")
    assert LOCKED["tensorflow-federated"] == {"0.87.0"}
    assert all(v.startswith("2.") for v in LOCKED["numpy"])
    assert (1, 0) <= version("jupyter-book") < (2, 0)
    assert LOCKED.keys() >= {"matplotlib", "nbval", "nest-asyncio", "mlxtend", "dp-accounting"}


def test_requirements_are_the_lock_with_hashes():
    text = (ROOT / "requirements.txt").read_text()
    pinned: dict[str, set[str]] = {}
    for block in re.split(r"\n(?=\S)", text.strip()):
        name, pin = re.match(r"([\w.-]+)==([^ ;]+)", block).groups()
        assert "--hash=sha256:" in block, name
        pinned.setdefault(name, set()).add(pin)
    locked = {name: versions for name, versions in LOCKED.items() if name != "fedbook"}
    assert pinned == locked
