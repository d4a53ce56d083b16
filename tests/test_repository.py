"""One address for the repository, _config.yml's, and one version, fedbook's; repeated elsewhere."""

import importlib.util
import json
import pathlib
import re
import shutil
import subprocess
import sys

import pytest
import yaml

import fedbook

ROOT = pathlib.Path(__file__).parent.parent
PATH = ROOT / "tools" / "set_repository.py"
spec = importlib.util.spec_from_file_location("set_repository", PATH)
set_repository = importlib.util.module_from_spec(spec)
spec.loader.exec_module(set_repository)

CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]
SLUG = set_repository.current((ROOT / "_config.yml").read_text())
# Where the book names its own repository; links to other repositories are free.
MENTION = re.compile(
    r"(?:colab\.research\.google\.com/github/|git clone [^\n]*https://github\.com/"
    r"|(?:url|repository-code): https://github\.com/)([\w.-]+/[\w.-]*\w)"
)
BADGE = re.compile(r"colab\.research\.google\.com/github/[\w.-]+/[\w.-]+/blob/([^/]+)/")


def files(root=ROOT):
    return sorted({path for pattern in set_repository.PATTERNS for path in root.glob(pattern)})


def setup_cells(root):
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        cells = json.loads(path.read_text())["cells"]
        yield from ("".join(cell["source"]) for cell in cells if cell["id"] == "setup")


def test_all_agree_on_the_address():
    mentions = {path.name: set(MENTION.findall(path.read_text())) for path in files()}
    assert {name: found for name, found in mentions.items() if found - {SLUG}} == {}
    named = {name for name, found in mentions.items() if found}
    assert {"README.md", "_config.yml", "CITATION.cff", "setup.md"} <= named


def test_all_agree_on_the_version():
    tag = f"v{fedbook.__version__}"
    assert CONFIG["branch"] == tag
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == fedbook.__version__
    assert {found for path in files() for found in BADGE.findall(path.read_text())} == {tag}
    assert f"## {fedbook.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_setup_cells_are_those_of_the_tool():
    assert set(setup_cells(ROOT)) == {set_repository.setup_cell(SLUG, fedbook.__version__)}


def test_a_setup_cell_clones_the_release_or_refuses():
    cell = set_repository.setup_cell("some-one/my.book", "1.2.3")
    clone = "clone -q --depth 1 -b v1.2.3 https://github.com/some-one/my.book {root}"
    assert clone in re.sub(r"\\\n +", "", cell)
    waiting = set_repository.setup_cell(f"{set_repository.PLACEHOLDER}/fedbook", "1.2.3")
    assert "git clone" not in waiting and "raise RuntimeError" in waiting
    for text in (cell, waiting):
        assert max(map(len, text.splitlines())) <= 79


def test_nobody_can_register_the_placeholder():
    with pytest.raises(ValueError, match="not the name of an account on GitHub"):
        set_repository.slug(f"https://github.com/{set_repository.PLACEHOLDER}/fedbook")


def test_no_mention_outside_the_files_that_are_rewritten():
    tops = [path for path in ROOT.iterdir() if path.name[0] not in "._" or path.name == ".github"]
    paths = {path for top in tops for path in ([top] if top.is_file() else top.rglob("*.*"))}
    readable = {".md", ".yml", ".toml", ".py", ".ipynb", ".cff", ".json", ".txt"}
    paths = {path for path in paths if path.suffix in readable}
    ours = {ROOT / "tests" / "test_repository.py", PATH}
    mentions = [p for p in paths - set(files()) - ours if MENTION.search(p.read_text())]
    assert mentions == []


@pytest.fixture
def copy(tmp_path):
    for path in [*files(), ROOT / "fedbook" / "__init__.py", PATH]:
        to = tmp_path / path.relative_to(ROOT)
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, to)
    return tmp_path


def set_in(copy, url):
    tool = copy / "tools" / "set_repository.py"
    return subprocess.run([sys.executable, str(tool), url], capture_output=True, text=True)


def texts(root):
    return {path.name: path.read_text() for path in files(root)}


def test_setting_an_address_changes_all_and_setting_it_back_restores(copy):
    assert set_in(copy, "https://github.com/some-one/my.book").returncode == 0
    first = texts(copy)
    for name, text in first.items():
        assert set(MENTION.findall(text)) <= {"some-one/my.book"}, name
        assert set_repository.PLACEHOLDER not in text, name
    expected = set_repository.setup_cell("some-one/my.book", fedbook.__version__)
    assert set(setup_cells(copy)) == {expected}
    assert set_in(copy, "https://github.com/another/book.git").returncode == 0
    assert set(MENTION.findall(texts(copy)["README.md"])) == {"another/book"}
    assert set_in(copy, "https://github.com/some-one/my.book/").returncode == 0
    assert texts(copy) == first


def test_a_release_moves_the_setup_cells_and_badges_to_its_tag(copy):
    init = copy / "fedbook" / "__init__.py"
    init.write_text(init.read_text().replace(fedbook.__version__, "9.8.7"))
    assert set_in(copy, "https://github.com/some-one/book").returncode == 0
    assert {found for text in texts(copy).values() for found in BADGE.findall(text)} == {"v9.8.7"}
    assert all(" -b v9.8.7 " in cell for cell in setup_cells(copy))
    assert yaml.safe_load((copy / "CITATION.cff").read_text())["version"] == "9.8.7"
    assert yaml.safe_load((copy / "_config.yml").read_text())["repository"]["branch"] == "v9.8.7"


@pytest.mark.parametrize(
    "url", ["", "github.com/a/b", "https://gitlab.com/a/b", "https://github.com/a"]
)
def test_not_an_address(url):
    with pytest.raises(ValueError, match="URL is .*https://github.com/OWNER/NAME"):
        set_repository.slug(url)


@pytest.mark.parametrize("owner", ["OWNER", "a-", "-a", "a--b", "a_b", "a.b", "a" * 40])
def test_not_an_owner(copy, owner):
    before = texts(copy)
    done = set_in(copy, f"https://github.com/{owner}/book")
    assert done.returncode == 1
    assert f"{owner!r} is not the name of an account on GitHub" in done.stderr
    assert "Traceback" not in done.stderr and texts(copy) == before
