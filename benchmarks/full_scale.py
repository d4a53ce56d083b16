"""Executes a chapter at full scale and records the values that it ends with.

python benchmarks/full_scale.py 02_federated_vae    writes results/02_federated_vae.json

Set FEDBOOK_DATA_DIR to use data that is on disk. What is recorded is read from the
chapter's own variables, after its last cell.
"""

import json
import os
import pathlib
import sys
import time

import nbclient
import nbformat

import record

NOTEBOOKS = pathlib.Path(__file__).parent.parent / "notebooks"
# For each chapter, the expressions whose values are kept; they must be JSON.
KEPT = {
    "02_federated_vae": {
        "source": "digits.source",
        "rounds": "history.round(3).reset_index().to_dict('records')",
        "final_test_loss_by_hand": "float(history['loss'].iloc[-1])",
        "final_test_loss_in_tff": "float(tff_test_loss)",
    }
}


def main(chapter: str) -> None:
    if chapter not in KEPT:
        raise ValueError(f"chapter is {chapter!r}; it must be one of {', '.join(KEPT)}.")
    os.environ["FEDBOOK_SCALE"] = "full"
    notebook = nbformat.read(NOTEBOOKS / f"{chapter}.ipynb", as_version=4)
    expressions = ", ".join(f"{name!r}: {code}" for name, code in KEPT[chapter].items())
    notebook.cells.append(
        nbformat.v4.new_code_cell(f"import json; print(json.dumps({{{expressions}}}))")
    )
    start = time.perf_counter()
    nbclient.NotebookClient(
        notebook, timeout=None, resources={"metadata": {"path": NOTEBOOKS}}
    ).execute()
    seconds = time.perf_counter() - start
    kept = json.loads(notebook.cells[-1].outputs[0]["text"])
    record.write(chapter, {"scale": "full", "wall_seconds": round(seconds), **kept})


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: python benchmarks/full_scale.py {'|'.join(KEPT)}")
    main(sys.argv[1])
