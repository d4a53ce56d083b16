"""One address for the repository: _config.yml's, repeated elsewhere."""

import importlib.util
import json
import pathlib
import re
import shutil

import pytest
import yaml

ROOT = pathlib.Path(__file__).parent.parent
spec = importlib.util.spec_from_file_location("set_repository", ROOT / "tools" / "set_repository.py")
set_repository = importlib.util.module_from_spec(spec)
spec.loader.exec_module(set_repository)

URL = yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]["url"]
# Where the book names its own repository; links to other repositories are free.
MENTION = re.compile(
    r"(?:colab\.research\.google\.com/github/|git clone [\w -]*https://github\.com/"
    r"|(?:url|repository-code|REPOSITORY) ?[:=] \"?https://github\.com/)([\w.-]+/[\w.-]*\w)"
)


def files():
    return sorted({path for pattern in set_repository.PATTERNS for path in ROOT.glob(pattern)})


def test_all_agree():
    slug = set_repository.slug(URL)
    mentions = {path.name: set(MENTION.findall(path.read_text())) for path in files()}
    assert {name: found for name, found in mentions.items() if found - {slug}} == {}
    assert {"README.md", "_config.yml", "CITATION.cff"} <= {name for name, found in mentions.items() if found}


def test_no_mention_outside_the_files_that_are_rewritten():
    ours = [path for path in ROOT.iterdir() if path.name[0] not in "._" or path.name == ".github"]
    paths = [path for top in ours for path in ([top] if top.is_file() else top.rglob("*.*"))]
    other = set(paths) - set(files()) - {pathlib.Path(__file__), ROOT / "tools" / "set_repository.py"}
    readable = {".md", ".yml", ".toml", ".py", ".ipynb", ".cff", ".json", ".txt"}
    assert [path for path in other if path.suffix in readable and MENTION.search(path.read_text())] == []


def test_setting_another_address_changes_all_and_setting_it_back_restores(tmp_path, monkeypatch):
    for path in files():
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    monkeypatch.setattr(set_repository, "ROOT", tmp_path)
    set_repository.main("https://github.com/some-one/my.book")
    for path in files():
        copy = tmp_path / path.relative_to(ROOT)
        assert set(MENTION.findall(copy.read_text())) <= {"some-one/my.book"}, path
        if copy.suffix == ".ipynb":
            json.loads(copy.read_text())
    set_repository.main(URL)
    for path in files():
        assert (tmp_path / path.relative_to(ROOT)).read_text() == path.read_text()


@pytest.mark.parametrize("url", ["", "github.com/a/b", "https://gitlab.com/a/b", "https://github.com/a"])
def test_not_an_address(url):
    with pytest.raises(ValueError, match="URL is .*https://github.com/OWNER/NAME"):
        set_repository.slug(url)
