"""Finished features found by what their backbone is made from, so that it is not loaded only to learn its fingerprint.

An empty file in the store's folder, named by a digest of the backbone's source and the data, says that they led here.
"""

import hashlib
import json
import os
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import trainable.export
import trainable.frozen
from trainable.errors import UserError
from trainable.frozen.model_folder import find_local_model
from tune.extraction.request import ExtractionRequest, Features, check_backbone, wanted_taps

LIBRARIES = ("open_clip_torch", "torch", "numpy")
"""Whose versions take part: they build the tower and draw the weights of `tiny:random`."""


def source_of(request: ExtractionRequest) -> str | None:
    """A hex digest of the data and of all that its backbone is made from, its weights by size and times, not read.

    None where loading alone tells: a model of the hub may be another one by now.
    """
    scheme, _, place = request.backbone.partition(":")
    model: list[object] = []
    if scheme == "local-dir":
        try:
            folder = find_local_model(Path(os.path.expanduser(place)))
            weights, stat = folder.weights.resolve(), folder.weights.stat()
        except (UserError, OSError):
            return None  # told by who loads it
        model = [folder.model_cfg, folder.preprocess_cfg, str(weights)]
        model += [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]  # nobody sets the last one back
    elif scheme != "tiny":
        return None
    libraries = {name: version(name) for name in LIBRARIES}
    source = [request.backbone, model, request.data_fingerprint, libraries, _code(), request.copy]
    return hashlib.sha256(json.dumps(source, sort_keys=True).encode()).hexdigest()


def remember(features: Features, source: str | None) -> None:
    """Let a later `known_features` find them; source: `source_of` where the backbone was loaded, from before that."""
    if source is not None:
        with suppress(OSError):  # a cache that cannot be written: the backbone is loaded again
            _marker(features.path, source).touch()


def known_features(request: ExtractionRequest) -> Features | None:
    """The finished store that serves `request`, nothing loaded; None where that is not certain.

    Raises: UserError when it is of another backbone than the study's, or that one has too few blocks.
    """
    source = source_of(request)
    if source is None:
        return None
    from trainable.frozen.extract import finished_store  # loads torch and numpy
    from trainable.frozen.features import read_manifest

    for marker in (request.cache_dir / "features").glob(_marker(Path("*"), source).as_posix()):
        try:
            identity = read_manifest(marker.parent)["identity"]
        except UserError:
            continue  # unfinished or damaged: to be extracted
        n_backbone_blocks = identity["architecture"]["n_blocks"]
        check_backbone(request, identity["backbone"], marker.parent)
        store = finished_store(marker.parent, wanted_taps(request, n_backbone_blocks))
        if store is not None:
            return Features(
                path=store.path,
                taps=store.taps,
                backbone_fingerprint=identity["backbone"],
                n_backbone_blocks=n_backbone_blocks,
                n_extracted=0,
                seconds=0.0,
            )
    return None


def _marker(store: Path, source: str) -> Path:
    return store / f"known-{source[:20]}"


def _code() -> str:
    """Hex digest of the files that make a backbone and decide what a store is."""
    digest = hashlib.sha256()
    (folder,) = map(Path, trainable.frozen.__path__)
    builder = Path(trainable.export.__path__[0]) / "standalone.py"
    files = [folder.parent / "architecture.py", builder, *folder.glob("*.py"), *folder.glob("open_clip_configs/*.json")]
    files += folder.glob("sentinel_tiny/*.safetensors")
    for file in sorted(files):
        digest.update(f"{file.name} {file.stat().st_size}\n".encode() + file.read_bytes())
    return digest.hexdigest()
