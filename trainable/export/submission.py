"""The challenge's folder: `model.py`, the weights and allowed packages; this project is not needed there.

Beside the folder lies what is uploaded: a zip of the same name, with the files at its root.
"""

import shutil
import zipfile
from pathlib import Path

from trainable.errors import UserError
from trainable.export import standalone
from trainable.export.exporter import write_config
from trainable.export.placing import archive_of, place_folder
from trainable.export.standalone import WEIGHTS, ExportedModel, read_config
from trainable.whole_file import whole_file

PROGRAM, REQUIREMENTS = "model.py", "requirements.txt"

PACKAGES = ("torch==2.8.0", "torchvision==0.23.0", "open-clip-torch==3.1.0")
"""As the organisers' baselines pin them and `model.py` is tested with. Their ingestion looks what stands before `==` up
in its list, letter by letter, and refuses all other forms. These bring numpy, Pillow and safetensors."""

_OWN_NAMES = r"config\.json|model\.safetensors|model\.py|requirements\.txt|__pycache__"
_NOT_NEEDED = ("facts",)
_NO_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip can say
_MODE = 0o100644 << 16  # a plain file that everybody may read, where a zip keeps Unix's modes


def write_submission(exported: Path, folder: Path) -> Path:
    """Write the submission of an exported model to `folder` and `archive_of(folder)`, both whole or none at all.

    An earlier one is replaced. The same model gives the same bytes.
    Raises: UserError when `folder` or the archive's place holds something else; ModelFolderError when `exported` cannot
    be read.
    """
    config = read_config(exported)
    if "label_range" not in config:
        classes = f" ({len(config['classes'])} classes)" if "classes" in config else ""
        raise UserError(
            f"a submission is of the beetle challenge, but {exported} forecasts {', '.join(config['targets'])}{classes}"
        )
    archive = archive_of(folder)
    _check_archive(archive)

    def write(temporary: Path) -> None:
        shutil.copyfile(exported / WEIGHTS, temporary / WEIGHTS)
        shutil.copyfile(standalone.__file__, temporary / PROGRAM)
        (temporary / REQUIREMENTS).write_text("".join(f"{package}\n" for package in PACKAGES), encoding="utf-8")
        needed = {name: value for name, value in config.items() if name not in _NOT_NEEDED}
        write_config(temporary, needed, unchecked=(PROGRAM, REQUIREMENTS))
        ExportedModel.load(temporary)
        _pack(temporary, packed)

    archive.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(archive) as packed:
        return place_folder(folder, write, own_names=_OWN_NAMES, what="a submission")


def _pack(folder: Path, archive: Path) -> None:
    """Stored, not deflated: weights hardly shrink, and every zlib deflates to other bytes."""
    with zipfile.ZipFile(archive, "w") as packed:
        for path in sorted(folder.iterdir()):
            entry = zipfile.ZipInfo(path.name, _NO_TIME)
            entry.external_attr, entry.file_size = _MODE, path.stat().st_size
            with path.open("rb") as source, packed.open(entry, "w") as target:
                shutil.copyfileobj(source, target, 1 << 20)


def _check_archive(archive: Path) -> None:
    if not archive.exists() and not archive.is_symlink():
        return
    if not archive.is_file() or not _is_ours(archive):
        raise UserError(
            f"a submission is packed into the zip beside its folder, but {archive} is something else; "
            "give another place, or move it away"
        )


def _is_ours(archive: Path) -> bool:
    try:
        with zipfile.ZipFile(archive) as found:
            return {PROGRAM, WEIGHTS} <= set(found.namelist())
    except (OSError, zipfile.BadZipFile):
        return False
