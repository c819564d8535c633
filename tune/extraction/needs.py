"""What the nodes of a cluster must be able to read and write for an extraction."""

import os
from pathlib import Path

from tune.cluster.node_checks import Needs, WrittenFolder
from tune.extraction.request import ExtractionRequest


def needs_of(request: ExtractionRequest) -> Needs:
    """The cache unless each node has its own, some images, the backbone's files where it is local."""
    files = [Path(file) for file in request.images.files()]
    some = [files[place] for place in sorted({0, len(files) // 2, len(files) - 1})]
    scheme, _, place = request.backbone.partition(":")
    folder = Path(os.path.expanduser(place)).absolute()
    if scheme == "local-dir" and folder.is_dir():  # who loads a wrong one says so
        some += sorted(file for file in folder.iterdir() if file.suffix in (".json", ".safetensors"))
    if request.remote is not None:  # each node copies features from there to a folder of its own
        return Needs(folders=(), files=tuple(some))
    cache = WrittenFolder("the folder of features", request.cache_dir, "--cache PATH, or --features s3://BUCKET/NAME")
    return Needs(folders=(cache,), files=tuple(some))
