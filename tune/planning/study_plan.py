"""What a search will take, before it is run: typed figures, each with how it was got."""

from dataclasses import asdict, dataclass

from trainable.plain_values import JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """expected, between low (all drawn trials as cheap as the cheaper corner) and high (as the dearer one)."""

    low: float
    expected: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Extraction:
    """images: still to be run through the frozen blocks, of n_images; n_copies of each are among both. image_seconds:
    measured; None where none is missing. bytes: that the stores still lack, in half precision. only_deepest: the disk
    holds one tap alone.
    """

    n_images: int
    n_copies: int
    images: int
    image_seconds: float | None
    seconds: float
    taps: tuple[int, ...]
    n_backbone_blocks: int
    bytes: int
    bytes_free: int
    only_deepest: bool
    store: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialNeeds:
    """Measured at the least and the most demanding configuration. *_bytes: (least, most); epoch_seconds: likewise.

    fit_memory: of the largest, how many the device's memory holds. precision: that trials train in, in words.
    """

    device: str
    precision: str
    device_name: str
    device_bytes: int
    memory_bytes: tuple[int, int]
    epoch_seconds: tuple[float, float]
    checkpoint_bytes: tuple[int, int]
    n_trainable: tuple[int, int]
    smallest: JsonObject
    largest: JsonObject
    fit_memory: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """slots: trials side by side. trials: still to be run, of them `in_full` never stopped early. epochs: trained under
    ASHA, of `most_epochs`. device_seconds: of the GPUs, or without any of the CPUs, that trials occupy. start_seconds:
    of workers.
    """

    slots: int
    cpus_per_trial: float
    gpus_per_trial: float
    share_reason: str
    trials: int
    in_full: int
    epochs: Range
    most_epochs: int
    device_seconds: Range
    wall_seconds: Range
    start_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmationNeeds:
    """runs: at most, of the search's full length. share: of the expected time of all."""

    runs: int
    epochs: int
    device_seconds: Range
    wall_seconds: Range
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """checkpoint_bytes: that lie in the study's folder at its end. bytes_free: of its disk; None on object storage.

    mlflow_runs, mlflow_values: to be written."""

    study: str
    checkpoint_bytes: int
    bytes_free: int | None
    tracking_uri: str
    mlflow_runs: int
    mlflow_values: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyPlan:
    """All of it. start_seconds: of libraries, backbone and workers, beside those of the search.

    wall_seconds: from the command to its result, the sum of start, extraction, search and confirmation; a time budget
    not counted.
    """

    extraction: Extraction
    trial: TrialNeeds
    search: Search
    confirmation: ConfirmationNeeds | None
    records: Records
    start_seconds: float
    wall_seconds: Range
    device_seconds: Range
    time_budget: float | None
    notes: tuple[str, ...]

    def to_dict(self) -> JsonObject:
        """Plain values for JSON."""
        return asdict(self)
