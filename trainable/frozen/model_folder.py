"""Where a pretrained model's files are: an open_clip folder on disk or on the Hugging Face hub, safetensors only.

open_clip would fall back to `open_clip_pytorch_model.bin`, a pickle, which can run code when it is read; so the files
are chosen here and no pickle is ever downloaded or opened.
"""

import reprlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from trainable.errors import UserError
from trainable.plain_values import JsonObject

CONFIG_NAME = "open_clip_config.json"
WEIGHTS_NAMES = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "model.safetensors")
"""In open_clip's own order of preference (open_clip 3.3, `_find_checkpoint_in_dir`)."""

_PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFolder:
    """An open_clip model on disk: the two parts of its config file, and its safetensors weights."""

    model_cfg: JsonObject
    preprocess_cfg: JsonObject
    weights: Path


RANDOM_TINY = "60410dc6e3909323f6cae7cd1e4551443edf2b33e067bcf92d68e21bec2053b5"
"""The fingerprint of `tiny:random`."""


def name_now(spec: str, fingerprint: str) -> str:
    """What a backbone of this fingerprint is called now that was called `spec` when it was used.

    `tiny` had the random weights of `tiny:random` until it was pretrained: studies and models of then say `tiny`.
    """
    return "tiny:random" if spec == "tiny" and fingerprint == RANDOM_TINY else spec


def name_problem(spec: str) -> str | None:
    """Why a backbone cannot be named so, whatever there is in any place; None when it can."""
    scheme, _, place = spec.partition(":")
    if spec in ("tiny", "tiny:random") or (scheme in ("hf-hub", "local-dir") and place):
        return None
    return f"`--backbone` must be `tiny`, `tiny:random`, `hf-hub:ORG/NAME` or `local-dir:PATH`, but got {spec!r}"


def find_local_model(path: Path) -> ModelFolder:
    """The model in a folder as open_clip's `local-dir:` reads it: `open_clip_config.json` beside safetensors weights.

    Raises: UserError when the folder, its config or safetensors weights are missing.
    """
    if not path.is_dir():
        raise UserError(
            f"`local-dir:PATH` must name a folder, but got {path}: not a folder; copy the model there first"
        )
    problems = []
    config_path, weights = path / CONFIG_NAME, _local_weights(path)
    if not config_path.is_file():
        problems.append(f"{path} must hold {CONFIG_NAME}, but has {_listing(path)}")
    if isinstance(weights, str):
        problems.append(weights)
    if problems or isinstance(weights, str):
        raise UserError(problems)
    return _read_model(config_path, weights)


def fetch_hub_model(model_id: str) -> ModelFolder:
    """The model `org/name` of the Hugging Face hub, downloaded once into the hub's own cache.

    Raises: UserError when the hub cannot be reached and its cache lacks the model, the name is unknown, or the model
    has no safetensors.
    """
    from huggingface_hub.errors import HFValidationError

    try:
        config_path = _hub_file(model_id, (CONFIG_NAME,))
        weights = _hub_file(model_id, WEIGHTS_NAMES)
    except HFValidationError as error:
        raise UserError(
            f"`hf-hub:` must be followed by ORG/NAME, but got {model_id!r}: {_first_line(error)}"
        ) from error
    return _read_model(config_path, weights)


def _hub_file(model_id: str, names: tuple[str, ...]) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RemoteEntryNotFoundError,
        RepositoryNotFoundError,
    )

    for name in names:
        try:
            return Path(hf_hub_download(model_id, name))
        except HFValidationError:
            raise
        except GatedRepoError as error:
            raise UserError(
                f"hf-hub:{model_id} must be readable, but its owner asks for a request first; "
                "ask on its page, then `hf auth login`"
            ) from error
        except RepositoryNotFoundError as error:
            raise UserError(
                f"hf-hub:{model_id} must exist on the hub, but was not found; "
                "check the name, or `hf auth login` if it is private"
            ) from error
        except RemoteEntryNotFoundError:
            continue
        except (LocalEntryNotFoundError, OSError) as error:
            raise UserError(
                f"hf-hub:{model_id} must be cached or downloadable, but {name} is neither: {_first_line(error)}; "
                f"without network, run `hf download {model_id} --local-dir DIR` where there is one, copy DIR here "
                "and use `local-dir:DIR`"
            ) from error
    raise UserError(
        f"hf-hub:{model_id} must hold {' or '.join(names)}, but has none; pickled weights (.bin, .pt) are never read, "
        "because they can run code: convert them to safetensors and use `local-dir:DIR`"
    )


def _local_weights(path: Path) -> Path | str:
    safe = sorted(file for file in path.glob("*.safetensors") if file.is_file())  # a pipe would be waited for
    preferred = [path / name for name in WEIGHTS_NAMES if path / name in safe]
    if preferred or len(safe) == 1:
        return (preferred or safe)[0]
    if safe:
        return f"{path} must hold one weights file or {WEIGHTS_NAMES[0]}, but has {_names(safe)}; rename the right one"
    pickles = sorted(p for p in path.iterdir() if p.suffix in _PICKLE_SUFFIXES)
    if pickles:
        return (
            f"weights in {path} must be safetensors, but only {_names(pickles)} is there; a pickle can run code when "
            "it is read and is never opened: convert it with safetensors.torch.save_file on a machine that trusts it"
        )
    return f"{path} must hold {WEIGHTS_NAMES[0]}, but has {_listing(path)}"


def _read_model(config_path: Path, weights: Path) -> ModelFolder:
    from trainable.export.standalone import read_json  # brings torch and open_clip

    try:
        config = read_json(config_path)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{config_path} must be JSON, but reading it failed: {_first_line(error)}") from error
    parts = config if isinstance(config, dict) else {}
    model_cfg, preprocess_cfg = parts.get("model_cfg"), parts.get("preprocess_cfg") or {}
    if not isinstance(model_cfg, dict) or not isinstance(preprocess_cfg, dict):
        raise UserError(
            f"{config_path} must hold `model_cfg` as open_clip writes it, but has keys {reprlib.repr(sorted(parts))}"
        )
    return ModelFolder(model_cfg=model_cfg, preprocess_cfg=preprocess_cfg, weights=weights)


def _listing(path: Path) -> str:
    return _names(sorted(path.iterdir())) or "nothing"


def _names(paths: Iterable[Path], limit: int = 8) -> str:
    names = [p.name for p in paths]
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__
