"""Features before trials: one extraction a backbone and dataset, in this process or on the workers of a cluster."""

from collections.abc import Callable
from dataclasses import replace

from tune.extraction.known_features import known_features
from tune.extraction.request import ExtractionRequest, Features, Progress


def make_features(request: ExtractionRequest, *, on_ray: bool, tell: Callable[[Progress | str], None]) -> Features:
    """Return the store that serves `request`, with those of copies, and extract what is missing.

    tell: hears of progress.

    Raises: UserError, such as a backbone that cannot be loaded, more blocks than it has, or a full disk.
    """
    own = _one_store(request, on_ray=on_ray, tell=tell)
    numbers = range(1, request.n_copies + 1)
    copies = [_one_store(request.of_copy(number), on_ray=on_ray, tell=tell) for number in numbers]
    return replace(
        own,
        copies=tuple(copies),
        n_extracted=sum(store.n_extracted for store in (own, *copies)),
        seconds=sum(store.seconds for store in (own, *copies)),
    )


def _one_store(request: ExtractionRequest, *, on_ray: bool, tell: Callable[[Progress | str], None]) -> Features:
    if request.remote is not None:
        request.remote.check_usable(what="--features")
    elif (features := known_features(request)) is not None:
        return features
    if request.copy:
        tell(f"copy {request.copy} of {request.n_copies} of each image")
    if not on_ray:
        from tune.extraction.in_process import extract_here  # loads torch

        return extract_here(request, tell)
    from tune.extraction.cluster_extraction import features_on_ray  # loads ray, and torch

    return features_on_ray(request, tell)
