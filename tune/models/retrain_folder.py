"""The folder of a retraining.

OUT/
  retrain.json    what is made here: another recipe is refused
  data/           labels and the place of the features, as training reads them
  checkpoints/    one folder a member; a killed retraining goes on from there
  model/          the exported model
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from trainable.checksums import from_json, to_json
from trainable.errors import UserError
from trainable.shown import cut, shown
from trainable.whole_file import whole_file
from tune.command_line.outputs import weights_folder_problem

RECIPE_NAME = "retrain.json"
MODEL_NAME = "model"


def claim_retrain_folder(folder: Path, identity: Mapping[str, object]) -> None:
    """Make the folder and write down what is made in it.

    Raises: UserError as `check_folder`, and when it cannot be written.
    """
    check_folder(folder, identity)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with whole_file(folder / RECIPE_NAME) as temporary:
            temporary.write_text(to_json(identity, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"`--out` must be writable, but {folder} is not: {error.strerror or error}") from error


def check_folder(folder: Path, identity: Mapping[str, object]) -> None:
    """See that the folder is new, or was made for the same, and that it can be written to.

    Raises: UserError naming every value that differs, or when the folder holds something else.
    """
    if (problem := weights_folder_problem(folder, "--out")) is not None:
        raise UserError(problem)
    file = folder / RECIPE_NAME
    if not file.exists():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UserError(f"`--out` must be a new folder, or one that `retrain` made, but {folder} is neither")
        return
    try:
        found = from_json(file.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"{file} must be readable, but is not: {error}; give another --out") from error
    found = {"precision": identity["precision"], **found}  # one that does not say was made in the device's own
    differing = [
        f"{name} is {_short(there)} there and {_short(now)} now"
        for name, there, now in _differences(found, json.loads(json.dumps(identity)))
    ]
    if differing:
        raise UserError(
            f"`--out {folder}` must be of the same retraining, but {'; '.join(differing)}; give another --out"
        )


def read_histories(folder: Path, *, n_members: int, say: Callable[[str], None]) -> list[list[dict[str, float]]]:
    """Each member's metrics by epoch, from its checkpoint; empty where that is gone.

    say: hears of damaged checkpoints.
    """
    from trainable.training.checkpoint import load_latest  # loads torch

    histories = []
    for member in range(n_members):
        state, damaged = load_latest(checkpoint_folder(folder, member))
        for reason in damaged:
            say(f"warning: passed over a damaged checkpoint, so that curves end before it: {reason}")
        histories.append(state["values"]["history"] if state is not None else [])
    return histories


def checkpoint_folder(folder: Path, member: int) -> Path:
    """Of one member."""
    return folder / "checkpoints" / f"member-{member}"


def _differences(found: object, wanted: object, path: str = "") -> Iterator[tuple[str, object, object]]:
    if isinstance(found, dict) and isinstance(wanted, dict):
        for name in dict.fromkeys([*found, *wanted]):
            yield from _differences(found.get(name), wanted.get(name), f"{path}.{name}" if path else name)
    elif found != wanted:
        yield path, found, wanted


def _short(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else str(value)
    return cut(shown(text), longest=60)
