"""Sets the address of the book's repository wherever it stands.

``make repository URL=https://github.com/someone/fedbook``: the address in
_config.yml is the one that counts; the badges, setup cells, README and
CITATION.cff repeat it, and tests/test_repository.py holds that they agree.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PATTERNS = ("_config.yml", "README.md", "CITATION.cff", "CONTRIBUTING.md", "pyproject.toml", "book/*.md",
            "notebooks/*.ipynb", "tests/test_chapters.py")


def current(config: str) -> str:
    """Returns ``owner/name`` from the text of _config.yml.

    Raises:
      ValueError: if it holds no such line.
    """
    found = re.search(r"^  url: https://github\.com/([\w.-]+/[\w.-]+)$", config, re.MULTILINE)
    if not found:
        raise ValueError("_config.yml has no line `  url: https://github.com/OWNER/NAME`.")
    return found[1]


def slug(url: str) -> str:
    """Returns ``owner/name`` of a GitHub address.

    Raises:
      ValueError: if `url` is not one.
    """
    found = re.fullmatch(r"https://github\.com/([\w.-]+/[\w.-]+?)(?:\.git)?/?", url)
    if not found:
        raise ValueError(f"URL is {url!r}; it must look like https://github.com/OWNER/NAME.")
    return found[1]


def main(url: str) -> None:
    """Rewrites every file of PATTERNS that names the old repository."""
    old, new = current((ROOT / "_config.yml").read_text()), slug(url)
    for path in sorted(path for pattern in PATTERNS for path in ROOT.glob(pattern)):
        text = path.read_text()
        # Badges write github/OWNER/NAME, everything else github.com/OWNER/NAME.
        changed = re.sub(rf"(/github(?:\.com)?/){re.escape(old)}(?![\w-])", rf"\g<1>{new}", text)
        if changed != text:
            path.write_text(changed)
            print(path.relative_to(ROOT))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: make repository URL=https://github.com/OWNER/NAME")
    main(sys.argv[1])
