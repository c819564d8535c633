"""The challenge's folder: `model.py`, the weights and allowed packages; this project is not needed there."""

import shutil
from pathlib import Path

from trainable.export import standalone
from trainable.export.exporter import write_config
from trainable.export.placing import place_folder
from trainable.export.standalone import WEIGHTS, ExportedModel, read_config

PROGRAM, REQUIREMENTS = "model.py", "requirements.txt"

_PACKAGES = ("torch>=2.6", "torchvision>=0.21", "open-clip-torch>=3.3,<4")  # these bring numpy, Pillow and safetensors
_OWN_NAMES = r"config\.json|model\.safetensors|model\.py|requirements\.txt|__pycache__"
_NOT_NEEDED = ("facts",)


def write_submission(exported: Path, folder: Path) -> Path:
    """Write the submission of an exported model to `folder`, whole or not at all; an earlier one is replaced.

    Raises: UserError when `folder` holds something else; ModelFolderError when `exported` cannot be read.
    """
    config = read_config(exported)

    def write(temporary: Path) -> None:
        shutil.copyfile(exported / WEIGHTS, temporary / WEIGHTS)
        shutil.copyfile(standalone.__file__, temporary / PROGRAM)
        (temporary / REQUIREMENTS).write_text("".join(f"{package}\n" for package in _PACKAGES), encoding="utf-8")
        needed = {name: value for name, value in config.items() if name not in _NOT_NEEDED}
        write_config(temporary, needed, unchecked=(PROGRAM, REQUIREMENTS))
        ExportedModel.load(temporary)

    return place_folder(folder, write, own_names=_OWN_NAMES, what="a submission")
