"""The skeleton that every chapter follows, and what a chapter may not hold."""

import itertools
import json
import pathlib
import re
import runpy

import pytest
import yaml

import fedbook

ROOT = pathlib.Path(__file__).parent.parent
CHAPTERS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# The chapters that keep to all of the limits below. The others are older: written in dense
# lines, which the formatter has broken into many, with asserts in place of claims.
REWRITTEN = {
    "01_first_federation",
    "02_federated_vae",
    "03_image_classification",
    "04_custom_model",
    "05_federated_core",
    "06_evaluation",
    "07_non_iid",
    "08_algorithms",
    "09_compression",
}
REPOSITORY = yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]
SLUG = REPOSITORY["url"].removeprefix("https://github.com/")
# The setup cell is the same in every chapter, letter for letter: make repository writes it.
SETUP = runpy.run_path(str(ROOT / "tools" / "set_repository.py"))["setup_cell"](
    SLUG, fedbook.__version__
)

# Hosts that a chapter may link to. Code may name none but the setup cell's.
HOSTS = {
    "arxiv.org",
    "colab.research.google.com",
    "doi.org",
    "github.com",
    "proceedings.mlr.press",
    "www.tensorflow.org",
    "tensorflow.org",
    "yann.lecun.com",
}


class Chapter:
    def __init__(self, path: pathlib.Path):
        self.path = path
        self.notebook = json.loads(path.read_text())
        self.cells = self.notebook["cells"]
        for cell in self.cells:
            cell["text"] = "".join(cell["source"])
        self.code = [cell for cell in self.cells if cell["cell_type"] == "code"]
        self.prose = [cell for cell in self.cells if cell["cell_type"] == "markdown"]
        self.headings = [
            line
            for cell in self.prose
            for line in re.sub(r"```.*?```", "", cell["text"], flags=re.S).splitlines()
            if line.startswith("#")
        ]

    def section(self, heading: str) -> str:
        """The prose under a second-level heading."""
        text = "\n".join(cell["text"] for cell in self.prose)
        return re.split(
            r"^## ",
            text.partition(f"\n## {heading}\n")[2] or text.partition(f"## {heading}\n")[2],
            flags=re.M,
        )[0]

    def bullets(self, heading: str) -> list[str]:
        return re.findall(r"^[-*] |^\d+\. ", self.section(heading), flags=re.M)


@pytest.fixture(params=CHAPTERS, ids=lambda path: path.stem)
def chapter(request):
    return Chapter(request.param)


def test_there_are_chapters_and_the_book_lists_them_all():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    listed = [entry["file"] for part in toc["parts"] for entry in part["chapters"]]
    assert (
        sorted(f for f in listed if f.startswith("notebooks/"))
        == [f"notebooks/{p.stem}" for p in CHAPTERS]
        != []
    )


def test_opening(chapter):
    title, badge, question = chapter.cells[0]["text"].split("\n\n", 2)
    assert re.fullmatch(r"# \S.*", title)
    where = f"github/{SLUG}/blob/v{fedbook.__version__}/notebooks/{chapter.path.name}"
    assert badge == (
        "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
        f"(https://colab.research.google.com/{where})"
    )
    assert len(question.split()) > 20 and "\n\n" not in question.strip()


def test_order_of_parts(chapter):
    seconds = [h[3:] for h in chapter.headings if h.startswith("## ")]
    assert seconds[:3] == ["You will learn", "You need", "Time to run"]
    assert seconds[-5:] == ["Check", "Exercises", "Summary", "What is next", "Further reading"]
    assert len(seconds) > 8 and sum(h.startswith("# ") for h in chapter.headings) == 1
    assert [c["cell_type"] for c in chapter.cells[:2]] == ["markdown"] * 2


def test_the_setup_cell_is_the_same_everywhere_and_fedbook_comes_first(chapter):
    assert chapter.code[0]["text"] == SETUP
    imports = chapter.code[1]["text"]
    assert re.search(r"^import fedbook\b", imports, re.M)
    assert imports.index("import fedbook") < imports.index("import tensorflow")
    assert not any("pip install" in cell["text"] for cell in chapter.code)


def test_the_summary_answers_the_objectives(chapter):
    objectives = chapter.bullets("You will learn")
    assert 3 <= len(objectives) <= 5
    assert len(chapter.bullets("Summary")) == len(objectives)


def test_outputs_are_not_stored(chapter):
    assert [c["id"] for c in chapter.code if c["outputs"] or c["execution_count"] is not None] == []
    assert not any("text" in c.get("metadata", {}).get("execution", {}) for c in chapter.code)


def test_cells_are_short_and_explained(chapter):
    lines = {cell["id"]: cell["text"].splitlines() for cell in chapter.code}
    longest = 20 if chapter.path.stem in REWRITTEN else 56
    assert {id_: len(text) for id_, text in lines.items() if len(text) > longest} == {}
    widest = 79 if chapter.path.stem in REWRITTEN else 100
    assert {id_: t for id_, text in lines.items() for t in text if len(t) > widest} == {}
    body = chapter.cells[4:]
    unexplained = [
        now["id"]
        for before, now in itertools.pairwise(body)
        if now["cell_type"] == before["cell_type"] == "code"
    ]
    assert unexplained == []


def test_no_skipped_cell_and_no_hidden_failure(chapter):
    allowed = {"hide-cell", "hide-input", "parameters", "diagram"}
    assert [c["id"] for c in chapter.cells if set(c["metadata"].get("tags", [])) - allowed] == []
    for cell in chapter.code:
        assert not re.search(
            r"except( Exception)?:|filterwarnings|simplefilter|skip-execution|%%capture",
            cell["text"],
        )


def test_plain_markdown(chapter):
    for cell in chapter.prose:
        # MyST directives and roles show raw in Colab or on GitHub, and so does most HTML.
        text = re.sub(r"</?(details|summary)>", "", cell["text"])
        assert not re.search(r"^(```|:::)\{|\{[\w:-]+\}`|</?[a-z]+[ >]", text, re.M), cell["id"]


def test_figures_have_captions_and_alt_text(chapter):
    for cell in chapter.code[2:]:
        if re.search(
            r"\bplots\.|\bdiagrams\.|\bplt\.|\.plot\(|imshow\(", cell["text"]
        ) and not cell["text"].startswith("def "):
            about = cell["metadata"].get("mystnb", {})
            assert len(about.get("image", {}).get("alt", "")) > 20, cell["id"]
            assert len(about.get("figure", {}).get("caption", "")) > 20, cell["id"]


def test_solutions_are_folded_and_there_is_one_an_exercise(chapter):
    exercises = [h for h in chapter.headings if re.match(r"### Exercise \d+", h)]
    solutions = [c for c in chapter.code if "@title Solution" in c["text"]]
    assert len(exercises) == len(solutions) >= 2
    for number, cell in enumerate(solutions, 1):
        assert cell["text"].startswith(f'# @title Solution {number} {{ display-mode: "form" }}\n')
        assert "hide-cell" in cell["metadata"]["tags"]


def test_check_asserts(chapter):
    start = next(i for i, c in enumerate(chapter.cells) if c["text"].startswith("## Check"))
    end = next(i for i, c in enumerate(chapter.cells) if c["text"].startswith("## Exercises"))
    asserts = [
        line
        for c in chapter.cells[start:end]
        if c["cell_type"] == "code"
        for line in c["text"].splitlines()
        if "assert" in line or "claims.check(" in line or "claims.tendency(" in line
    ]
    assert len(asserts) >= len(chapter.bullets("You will learn"))


def test_only_known_hosts(chapter):
    for cell in chapter.cells:
        found = set(re.findall(r"https?://([\w.-]+)", cell["text"]))
        assert found <= HOSTS, cell["id"]
    for cell in chapter.code[1:]:
        assert not re.search(r"https?://", cell["text"]), cell["id"]


def test_links_lead_somewhere(chapter):
    for cell in chapter.prose:
        for target in re.findall(r"\]\(([^)#\s]+)", cell["text"]):
            assert re.match(r"https://", target) or (chapter.path.parent / target).exists(), (
                cell["id"],
                target,
            )


@pytest.fixture(params=[path for path in CHAPTERS if path.stem in REWRITTEN], ids=lambda p: p.stem)
def rewritten(request):
    return Chapter(request.param)


def test_all_randomness_comes_from_one_seed(rewritten):
    parameters = [c for c in rewritten.code if "parameters" in c["metadata"].get("tags", [])]
    (cell,) = parameters
    assert re.search(r"^SEED = 1\b", cell["text"], re.M)
    # A generator that has a number of its own would give the same for every seed.
    for cell in rewritten.code:
        fixed = re.findall(r"(?:default_rng|set_seed|set_random_seed)\([0-9)]", cell["text"])
        assert fixed == [], cell["id"]


def test_it_opens_with_a_diagram(rewritten):
    first = next(c for c in rewritten.code[1:] if "hide-input" in c["metadata"].get("tags", []))
    assert "diagram" in first["metadata"]["tags"]


def test_a_chapter_has_its_length(rewritten):
    prose = "\n".join(cell["text"] for cell in rewritten.prose).partition("\n## Exercises")[0]
    assert len(prose.split()) <= 2500
    lines = sorted(len(cell["text"].splitlines()) for cell in rewritten.code[1:])
    assert lines[len(lines) // 2] <= 8
    assert "claims.show()" in "\n".join(cell["text"] for cell in rewritten.code)


def test_the_reader_predicts_twice(rewritten):
    text = "\n".join(cell["text"] for cell in rewritten.prose)
    assert len(re.findall(r"^\*Predict", text, re.M)) >= 2
    assert text.count("<details>") == text.count("</details>") > 2


def test_exercises_are_graded_and_checked(rewritten):
    exercises = [h for h in rewritten.headings if h.startswith("### Exercise")]
    assert 5 <= len(exercises) <= 7
    grades = "warm-up|practice|challenge"
    number = int(rewritten.path.stem[:2])
    code = "\n".join(cell["text"] for cell in rewritten.code)
    for i, heading in enumerate(exercises, 1):
        assert re.fullmatch(rf"### Exercise {i} \(({grades})\)", heading)
        # Once for the reader's answer, and once for the solution.
        assert code.count(f'exercises.check("{number:02}-{i}"') == 2
