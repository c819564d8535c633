"""What is to be extracted, what comes of it, and how far it is."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from trainable.errors import UserError
from trainable.plain_values import JsonObject
from trainable.storage.remote_folder import RemoteFolder

if TYPE_CHECKING:
    from trainable.data.specimens import ImageSource


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractionRequest:
    """What to extract: plain values and paths, cheap to send.

    n_blocks: every number of trainable blocks that a trial may ask for. n_copies: the most copies of each image. copy:
    the number of the one copy that is asked for; 0: the images, with all copies. n_processes: image decoding processes.
    n_threads: CPU threads of the model. backbone_fingerprint: that the backbone must have; features_key: the name of
    the store that it must make; None for any. remote: where finished stores are kept on object storage; each node has
    its own `cache_dir` then.
    """

    backbone: str
    images: "ImageSource"
    data_fingerprint: str
    n_blocks: tuple[int, ...]
    cache_dir: Path
    device: str
    n_processes: int
    n_threads: int
    backbone_fingerprint: str | None = None
    features_key: str | None = None
    remote: RemoteFolder | None = None
    n_copies: int = 0
    copy: int = 0

    def of_study(self, header: JsonObject) -> Self:
        """The same for a study that has begun, which must go on with the features that it began with."""
        return replace(
            self,
            backbone_fingerprint=header["backbone_fingerprint"],
            features_key=header.get("features_key"),  # older studies do not say
        )

    def of_copy(self, number: int) -> Self:
        """The request for one copy alone, or with 0 for the images alone; of a study, their key told the backbone."""
        return replace(self, copy=number, features_key=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """A finished store: where, of which backbone, and how many images were run for it just now (0: it was there).

    remote: where it lies on object storage, from which any node can copy it; None when nodes share its path.
    copies: the stores of copies of the images, in their order; their images are among n_extracted, too.
    """

    path: Path
    taps: tuple[int, ...]
    backbone_fingerprint: str
    n_backbone_blocks: int
    n_extracted: int
    seconds: float
    remote: RemoteFolder | None = None
    copies: tuple["Features", ...] = ()


@dataclass(frozen=True, slots=True)
class Progress:
    """Images done of all that this extraction runs."""

    n_done: int
    n_total: int


def check_backbone(request: ExtractionRequest, fingerprint: str, store: Path) -> None:
    """Raises: UserError unless the backbone, and what it makes of images, are those that the study began with."""
    if request.backbone_fingerprint not in (None, fingerprint):
        raise UserError(
            f"`--backbone` must stay what it was when the study began, but the backbone fingerprint was "
            f"{request.backbone_fingerprint} and is {fingerprint} (of {request.backbone}); begin a new study for it"
        )
    if request.features_key not in (None, store.name):
        raise UserError(
            f"`--backbone` must stay what it was when the study began, but its features were {request.features_key} "
            f"and would be {store.name}: the configuration of {request.backbone} has changed; restore it, or begin a "
            "new study"
        )


def wanted_taps(request: ExtractionRequest, n_backbone_blocks: int) -> tuple[int, ...]:
    """The depths that trials read, ascending.

    Raises: UserError when more trainable blocks are asked for than the backbone has.
    """
    if (most := max(request.n_blocks)) > n_backbone_blocks:
        raise UserError(
            f"`tail.n_blocks <= {n_backbone_blocks}` must hold for backbone {request.backbone}, "
            f"but the search space or a variant asks for {most}"
        )
    return tuple(sorted({n_backbone_blocks - n for n in request.n_blocks}))
