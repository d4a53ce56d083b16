"""The states of a run, in files from which it continues."""

import json
import pathlib
import re
import shutil
import warnings
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

from fedbook.simulation.history import History, write_whole


class Checkpoints(tff.program.FileProgramStateManager):
    """Saves state and history together, and refuses the checkpoints of another run."""

    def __init__(self, folder, rounds: int, identity: dict[str, Any], history: History):
        self._folder = folder = pathlib.Path(folder)
        self._rounds = rounds
        self._history = history
        self._history_path = folder / "history.jsonl"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            super().__init__(str(folder), prefix="round_", keep_total=2, keep_first=False)
            self._check_identity(folder / "run.json", identity)
            for left in folder.glob("round_*_temp*"):  # of a run that ended while it saved
                shutil.rmtree(left)
        except OSError as error:
            raise OSError(
                f"checkpoint_dir {str(folder)!r} cannot be used ({error}). It must be a folder "
                "that you can read and write, on a disk that is not full."
            ) from error

    def _check_identity(self, path: pathlib.Path, identity: dict[str, Any]) -> None:
        missing = not path.exists()
        try:
            found = {} if missing else json.loads(path.read_text())
        except ValueError:  # of a former version, whose file could be cut off
            found = {}
        way_out = "Use another folder, or delete this one."
        if not (found and isinstance(found, dict)):
            if any(re.fullmatch(r"round_\d+", saved.name) for saved in path.parent.iterdir()):
                raise ValueError(
                    f"{path} is {'missing' if missing else 'damaged'}, and without it nobody "
                    f"knows to which run the checkpoints of checkpoint_dir belong. {way_out}"
                )
            write_whole(json.dumps(identity), path)  # a folder without anything to lose
        elif "process" not in found:
            raise ValueError(
                f"checkpoint_dir {str(path.parent)!r} was made by an earlier version of fedbook, "
                "which did not write down the process, so nobody knows whether this run can "
                f"continue it. {way_out}"
            )
        elif found != identity:
            different = [
                f"its {name} is another"
                if re.fullmatch("[0-9a-f]{64}", str(wanted))
                else f"its {name} is {found.get(name)}, not {wanted}"
                for name, wanted in identity.items()
                if found.get(name) != wanted
            ]
            raise ValueError(
                f"checkpoint_dir {str(path.parent)!r} belongs to another run: "
                f"{'; '.join(different)}. {way_out}"
            )

    async def save(self, program_state, version):
        try:
            self._history.save(self._history_path)  # `load` drops the rows after `version`
            await super().save(program_state, version)
        except (OSError, tf.errors.OpError) as error:
            raise OSError(
                f"The checkpoint of round {version} could not be written to checkpoint_dir "
                f"{str(self._folder)!r} ({error}). Make room there and run again: the run "
                "continues from the checkpoint before it."
            ) from error

    async def load_latest(self, structure):
        for version in reversed(await self.get_versions() or []):
            if version > self._rounds:
                raise ValueError(
                    f"rounds is {self._rounds}; the checkpoint is already at round {version}."
                )
            path = self._folder / f"round_{version}"
            try:
                state = await self.load(version, structure)
            except (PermissionError, tf.errors.PermissionDeniedError) as error:
                raise OSError(f"{path} cannot be read ({error}). Make it readable.") from error
            except Exception as error:  # TensorFlow raises what a damaged file happens to cause
                aside = path.with_name(f"damaged_{path.name}")
                shutil.rmtree(aside, ignore_errors=True)
                path.replace(aside)  # so that the run can save this round again
                why = f"{type(error).__name__}: {str(error).strip()[:200]}"
                warnings.warn(
                    f"{path} is damaged ({why}) and was renamed to {aside.name}. The run continues "
                    "from the checkpoint before it, or from the start if there is none.",
                    stacklevel=2,
                )
                continue
            self._load_history(version)
            return state, version
        return None, 0

    def _load_history(self, version: int) -> None:
        try:
            self._history.load(self._history_path, version)
        except (OSError, ValueError) as error:
            warnings.warn(
                f"{self._history_path} is damaged or missing ({error}). The run continues from "
                f"the checkpoint of round {version}, without the history of the rounds before.",
                stacklevel=2,
            )
