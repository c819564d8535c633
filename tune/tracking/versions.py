"""What a study was made with: versions of the libraries, commit of the code, user."""

import getpass
import platform
import subprocess
from importlib import metadata
from pathlib import Path

LIBRARIES = ("sentinel-tune", "torch", "open_clip_torch", "peft", "ray", "optuna", "mlflow", "numpy", "pandas")


def library_versions() -> dict[str, str]:
    """Installed versions by name; libraries that are not installed are left out."""
    versions = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def git_commit() -> str | None:
    """Commit of this code, with `+changes` if files differ from it; None outside a checkout."""
    folder = Path(__file__).resolve().parent
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        return f"{commit}+changes" if _git(folder, "status", "--porcelain", "--untracked-files=no") else commit
    except (OSError, subprocess.SubprocessError):
        return None


def user_name() -> str:
    """Login name, or "unknown" where the system has none for this user."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
