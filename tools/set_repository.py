"""Sets the address of the book's repository, and its release, wherever they stand.

``make repository URL=https://github.com/someone/fedbook``: the address in _config.yml is
the one that counts; the badges, setup cells, README and CITATION.cff repeat it. The badges
and setup cells also name the tag of the release, from ``fedbook.__version__``.
tests/test_repository.py holds that all of them agree.

Until the publisher has done this, the owner is PLACEHOLDER, a name that GitHub does not
allow: a setup cell runs what it clones, so nobody may be able to register the address.
"""

import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PATTERNS = ("_config.yml", "README.md", "CITATION.cff", "book/*.md", "notebooks/*.ipynb")
PLACEHOLDER = "set-by-make-repository-"  # ends with a hyphen
WORDS_FOR_A_NAME = {"owner", "username", "your-name", "your-username", "someone", "example"}

SETUP = """\
# @title Setup {{ display-mode: "form" }}
import os
import runpy

SCALE = "quick"  # @param ["quick", "full"]
# Colab and Kaggle: install fedbook and what it needs. Elsewhere: nothing.
if {{"COLAB_RELEASE_TAG", "KAGGLE_KERNEL_RUN_TYPE"}} & os.environ.keys():
    os.environ["FEDBOOK_SCALE"] = SCALE
    tool = "tools/hosted_setup.py"
    root = ".." if os.path.isfile(f"../{{tool}}") else "fedbook-repository"
    if not os.path.isdir(root):
{fetch}
    runpy.run_path(f"{{root}}/{{tool}}", run_name="__main__")"""
CLONE = """\
        !git -c advice.detachedHead=false clone -q --depth 1 -b v{version} \\
            https://github.com/{slug} {{root}}"""
REFUSE = """\
        raise RuntimeError(
            "The book has no address yet: run `make repository URL=...` or put"
            " a clone beside this notebook, in a folder fedbook-repository."
        )"""


def current(config: str) -> str:
    """Returns ``owner/name`` from the text of _config.yml.

    Raises:
      ValueError: if it holds no such line.
    """
    found = re.search(r"^  url: https://github\.com/([\w.-]+/[\w.-]+)$", config, re.MULTILINE)
    if not found:
        raise ValueError("_config.yml has no line `  url: https://github.com/OWNER/NAME`.")
    return found[1]


def version(init: str) -> str:
    """Returns ``__version__`` from the text of fedbook/__init__.py.

    Raises:
      ValueError: if it holds no such line.
    """
    found = re.search(r'^__version__ = "(\d+\.\d+\.\d+)"$', init, re.MULTILINE)
    if not found:
        raise ValueError('fedbook/__init__.py has no line `__version__ = "X.Y.Z"`.')
    return found[1]


def slug(url: str) -> str:
    """Returns ``owner/name`` of a GitHub address.

    Raises:
      ValueError: if `url` is not one, or nobody can have its owner's name on GitHub.
    """
    found = re.fullmatch(r"https://github\.com/([^/]+)/([\w.-]+?)(?:\.git)?/?", url)
    if not found:
        raise ValueError(f"URL is {url!r}; it must look like https://github.com/OWNER/NAME.")
    owner, name = found.groups()
    allowed = re.fullmatch(r"[A-Za-z0-9]+(-[A-Za-z0-9]+)*", owner) and len(owner) <= 39
    if not allowed or owner.lower() in WORDS_FOR_A_NAME:
        raise ValueError(
            f"URL is {url!r}; {owner!r} is not the name of an account on GitHub: put yours there."
        )
    return f"{owner}/{name}"


def setup_cell(slug: str, version: str) -> str:
    """Returns the text of every chapter's setup cell for the repository ``owner/name``."""
    waiting = slug.startswith(f"{PLACEHOLDER}/")
    fetch = REFUSE if waiting else CLONE.format(slug=slug, version=version)
    return SETUP.format(fetch=fetch)


def rewritten(path: pathlib.Path, text: str, old: str, new: str, version: str) -> str:
    """Returns the text of a file that named the repository `old`, naming `new`."""
    # Badges write github/OWNER/NAME, everything else github.com/OWNER/NAME.
    text = re.sub(rf"(/github(?:\.com)?/){re.escape(old)}(?![\w-])", rf"\g<1>{new}", text)
    text = re.sub(rf"(/github/{re.escape(new)}/blob/)[^/]+/", rf"\g<1>v{version}/", text)
    if path.name == "_config.yml":  # the book's own Colab buttons
        text = re.sub(r"^  branch: .*$", f"  branch: v{version}", text, flags=re.MULTILINE)
    if path.name == "CITATION.cff":
        text = re.sub(r"^version: .*$", f"version: {version}", text, flags=re.MULTILINE)
    if path.suffix == ".ipynb":
        notebook = json.loads(text)
        for cell in notebook["cells"]:
            if cell["id"] == "setup":
                cell["source"] = setup_cell(new, version).splitlines(keepends=True)
        text = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
    return text


def main(new: str) -> None:
    """Rewrites every file of PATTERNS for the repository ``owner/name``."""
    old = current((ROOT / "_config.yml").read_text())
    release = version((ROOT / "fedbook" / "__init__.py").read_text())
    for path in sorted(path for pattern in PATTERNS for path in ROOT.glob(pattern)):
        text = path.read_text()
        changed = rewritten(path, text, old, new, release)
        if changed != text:
            path.write_text(changed)
            print(path.relative_to(ROOT))
    print(f"Setup cells and badges lead to the tag v{release} of {new}; see CONTRIBUTING.md.")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: make repository URL=https://github.com/OWNER/NAME")
    try:
        main(slug(sys.argv[1]))
    except ValueError as error:
        sys.exit(str(error))
