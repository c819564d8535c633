"""A trained model in a folder of its own: photographs of ground beetles in, forecasts of three drought indices out.

This one file travels with the weights and imports torch and open_clip, and numpy, Pillow and safetensors, which those
bring. It reads `config.json` and `model.safetensors`; nothing of a model folder is executed or unpickled.

    model = ExportedModel.load("folder")
    predictions = model.predict(images, domains)                # [n, 3], one row a specimen
    model.forecast(predictions, events, domains)                # event -> {"mu": [3], "sigma": [3]}

A *specimen* is one photographed beetle, an *event* all that were caught at one place and date, a *domain* an
ecological region; one that was not trained on, or None, is *unknown*. `Model` is the interface of the beetle challenge.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

KIND, FORMAT_VERSION = "sentinel-tune model", 1
CONFIG, WEIGHTS = "config.json", "model.safetensors"

IMAGE_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
"""PIL's names of what is read, whatever a file is called. For PostScript, say, PIL would start Ghostscript."""

LOWEST_SIGMA = 1e-3
"""A forecast's sigma is never below: it survives rounding to 4 decimals."""

_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_NO_TEXT = {"context_length": 1, "vocab_size": 1, "width": 8, "heads": 1, "layers": 1}  # only the other tower is used
_SLIVER = 100  # sides' ratio beyond which the middle alone is resized: the whole would take gigabytes
_DEPTHS = (8, 10, 12, 14, 16)  # bits of cameras and scanners


class ModelFolderError(ValueError):
    """A folder that holds no model which can be trusted and read; `problems`: everything that is wrong, a line each."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))

    def __reduce__(self) -> tuple[type[ModelFolderError], tuple[tuple[str, ...]]]:
        return type(self), (self.problems,)


class Network(nn.Module):
    """Pixels and domain to three values: open_clip's tower, unit norm, plus the domain's code, regressor."""

    def __init__(self, visual: nn.Module, *, domain_shape: Sequence[int] | None, head_widths: Sequence[int]) -> None:
        """domain_shape: rows (known domains, then *unknown*) and channels of the codes, or None without them."""
        super().__init__()
        self.visual = visual
        self.domain_code = None if domain_shape is None else nn.Embedding(domain_shape[0], domain_shape[1])
        self.head = nn.ModuleList(nn.Linear(n, m) for n, m in zip(head_widths[:-1], head_widths[1:]))  # noqa: B905, RUF007

    def forward(self, pixels: Tensor, domains: Tensor) -> Tensor:
        """float32 [B, 3, S, S], int64 [B] -> [B, 3], not clipped."""
        output = self.visual(pixels)
        x = F.normalize(output[0] if isinstance(output, tuple) else output, dim=-1)
        if self.domain_code is not None:
            x = x + self.domain_code(domains)
        for layer in self.head[:-1]:
            x = F.gelu(layer(x))
        result: Tensor = self.head[-1](x)
        return result


class ExportedModel:
    """A loaded model, in evaluation mode, float32.

    config: `config.json`. members: the networks whose mean is predicted. known_domains: ascending; a domain's index is
    its place among them, all others share the index after the last.
    """

    def __init__(self, config: dict[str, Any], members: Sequence[Network]) -> None:
        self.config = config
        self.members = nn.ModuleList(members).eval().requires_grad_(False)
        self.known_domains: tuple[int, ...] = tuple(config["known_domains"])
        self.targets: tuple[str, ...] = tuple(config["targets"])

    @classmethod
    def load(cls, folder: str | os.PathLike[str], device: str = "cpu") -> ExportedModel:
        """Raises: ModelFolderError naming everything missing, altered, of a newer format, or not safetensors."""
        path = Path(folder)
        config = read_config(path)
        try:
            members = _build_members(config, load_file(path / WEIGHTS))
        except Exception as error:  # open_clip, torch and safetensors raise all kinds on what does not fit
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise ModelFolderError([f"{path} must hold a model that {CONFIG} describes, but {reason[0]}"]) from error
        return cls(config, [member.to(device) for member in members])

    def domain_indices(self, domains: Sequence[int | None]) -> Tensor:
        """Domain IDs -> int64 [B]; None and all that were not trained on -> len(known_domains)."""
        known: dict[int | None, int] = {domain: index for index, domain in enumerate(self.known_domains)}
        return torch.tensor([known.get(_domain_id(domain), len(known)) for domain in domains], dtype=torch.int64)

    def pixels(self, images: Sequence[bytes | Image.Image]) -> Tensor:
        """Encoded or opened images of any mode and size -> float32 [B, 3, S, S], as in training to the bit."""
        return self._normalized([decode(image, self.config["transform"]) for image in images])

    @torch.inference_mode()
    def predict_pixels(self, pixels: Tensor, domains: Sequence[int | None]) -> NDArray[np.float64]:
        """float32 [B, 3, S, S] -> [B, 3]: the mean of the members, clipped to the labels' range."""
        device = next(self.members.parameters()).device
        given = pixels.to(device), self.domain_indices(domains).to(device)
        outputs = torch.stack([member(*given) for member in self.members])
        low, high = self.config["label_range"]
        result: NDArray[np.float64] = np.clip(outputs.double().mean(dim=0).cpu().numpy(), low, high)
        return result

    def predict(
        self,
        images: Sequence[bytes | Image.Image],
        domains: Sequence[int | None],
        batch_size: int = 32,
        progress: Callable[[int, int], None] | None = None,
    ) -> NDArray[np.float64]:
        """Specimens -> [n, 3]. images: any sequence, read in order; progress: called with (done, all) after a batch.

        Raises: ValueError unless there is a domain for each image; whatever PIL raises for bytes that are no image.
        """
        if len(images) != len(domains):
            raise ValueError(f"every image needs a domain (or None), but got {len(images)} and {len(domains)}")
        results = [np.empty((0, len(self.targets)))]
        n_done = 0
        for decoded in self._decoded_batches(images, batch_size):
            batch = slice(n_done, n_done + len(decoded))
            results.append(self.predict_pixels(self._normalized(decoded), domains[batch]))
            n_done = batch.stop
            if progress is not None:
                progress(n_done, len(images))
        return np.concatenate(results)

    def forecast(
        self,
        predictions: NDArray[np.float64],
        event_of_specimen: Sequence[Hashable],
        domains: Sequence[int | None],
    ) -> dict[Hashable, dict[str, list[float]]]:
        """Event -> "mu" (the mean over its specimens) and "sigma" (of known or unknown domains), one a target.

        predictions: [n, 3]. An event counts as of a known domain if all its specimens do.
        """
        rows: dict[Hashable, list[int]] = {}
        for row, event in enumerate(event_of_specimen):
            rows.setdefault(event, []).append(row)
        is_known = self.domain_indices(domains).numpy() < len(self.known_domains)
        forecasts = {}
        for event, members in rows.items():
            sigmas = self.config["sigmas"]["known" if is_known[members].all() else "unknown"]
            mu = np.asarray(predictions, dtype=np.float64)[members].mean(axis=0)
            forecasts[event] = {"mu": mu.tolist(), "sigma": [max(float(sigma), LOWEST_SIGMA) for sigma in sigmas]}
        return forecasts

    def _normalized(self, decoded: Sequence[NDArray[np.uint8]]) -> Tensor:
        size = self.config["transform"]["image_size"]
        stacked = np.stack(decoded) if decoded else np.empty((0, size, size, 3), dtype=np.uint8)
        pixels = torch.from_numpy(stacked).permute(0, 3, 1, 2).contiguous().float().div_(255)
        mean, std = (torch.tensor(self.config["transform"][name]).view(3, 1, 1) for name in ("mean", "std"))
        return pixels.sub_(mean).div_(std)

    def _decoded_batches(
        self, images: Sequence[bytes | Image.Image], batch_size: int
    ) -> Iterator[list[NDArray[np.uint8]]]:
        """Batches in order; while one is predicted, threads decode the next."""
        n_cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        with ThreadPoolExecutor(min(8, n_cpus), thread_name_prefix="decode") as pool:

            def submit(start: int) -> list[Any]:
                given = [images[row] for row in range(start, min(start + batch_size, len(images)))]
                for image in given:
                    if isinstance(image, Image.Image):
                        image.load()  # here: threads must not load one image twice at once
                return [pool.submit(decode, image, self.config["transform"]) for image in given]

            coming = submit(0)
            for start in range(0, len(images), batch_size):
                batch, coming = coming, submit(start + batch_size)
                yield [decoding.result() for decoding in batch]


class Model:
    """The challenge's interface: `load()`, then `predict` once an event."""

    def load(self) -> None:
        """Read the model that lies beside this file."""
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model = ExportedModel.load(Path(__file__).absolute().parent, device)

    def predict(self, datapoints: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
        """One event's specimens, `relative_img` (PIL) and `domainID` of each -> target -> {"mu", "sigma"}."""
        if not datapoints:
            raise ValueError("an event must have at least one specimen, but has none")
        domains = [point.get("domainID") for point in datapoints]
        predictions = self._model.predict([point["relative_img"] for point in datapoints], domains)
        event = self._model.forecast(predictions, ["event"] * len(domains), domains)["event"]
        return {
            target: {"mu": event["mu"][i], "sigma": event["sigma"][i]} for i, target in enumerate(self._model.targets)
        }


def open_image(encoded: bytes) -> Image.Image:
    """The image, its header read alone. Raises: whatever PIL raises for bytes that are no image of `IMAGE_FORMATS`."""
    return Image.open(io.BytesIO(encoded), formats=IMAGE_FORMATS)


def decode(image: bytes | Image.Image, transform: Mapping[str, Any]) -> NDArray[np.uint8]:
    """uint8 [S, S, 3], as in training: open_clip's evaluation transform before `ToTensor`.

    A palette's colours are picked, not mixed, transparent pixels keep the colour beneath, and EXIF orientation is not
    applied. Unlike there, values beyond 8 bits are scaled by their range, and of an image whose sides differ by more
    than a factor of 100 the middle alone is resized, equal to it but for rounding.

    Source: open_clip 3.3.0 `transform.py:image_transform`, torchvision `Resize` and `CenterCrop`.
    """
    if not isinstance(image, Image.Image):
        with open_image(image) as opened:
            return decode(opened, transform)
    target, mode = transform["image_size"], transform["resize_mode"]
    interpolation = Image.Resampling[transform["interpolation"].upper()]
    image = _scaled_to_8_bits(image.convert("LA") if image.mode == "La" else image)  # PIL makes no RGB of "La"
    size = _resized(image.size, target, mode)
    if max(size) > _SLIVER * target:
        resized = image.resize((target, target), interpolation, box=_middle(image.size, size, target))
    else:
        resized = image.resize(size, interpolation)
    if mode == "longest":
        resized = _padded(resized, target, transform["fill_color"])
    left, top = round((resized.width - target) / 2), round((resized.height - target) / 2)
    return np.asarray(resized.crop((left, top, left + target, top + target)).convert("RGB"))


def _scaled_to_8_bits(image: Image.Image) -> Image.Image:
    """Of one channel of 16 or 32 bits, by the range of a usual depth that holds its values, else by their own."""
    if image.mode not in ("I", "F") and not image.mode.startswith("I;"):
        return image
    values = np.asarray(image if image.mode == "F" else image.convert("I"))
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        raise ValueError("an image's values must be finite, but some are not")
    usual = (1, 255) if image.mode == "F" else tuple(2**bits - 1 for bits in _DEPTHS)
    low, high = next(((0, most) for most in usual if low >= 0 and high <= most), (low, high))
    if (low, high) == (0, 255) and image.mode in ("I", "I;16", "F"):  # PIL makes nonsense of big-endian ones
        return image
    scaled = (values.astype(np.float32) - np.float32(low)) * np.float32(255 / ((high - low) or 1))
    return Image.fromarray(np.rint(scaled).clip(0, 255).astype(np.uint8))


def _middle(size: tuple[int, int], resized: tuple[int, int], target: int) -> tuple[float, float, float, float]:
    """The box in an image that is cut out of the middle once it is resized."""
    (width, height), (x_scale, y_scale) = size, (size[0] / resized[0], size[1] / resized[1])
    left, top = round((resized[0] - target) / 2), round((resized[1] - target) / 2)
    right, bottom = min((left + target) * x_scale, width), min((top + target) * y_scale, height)
    return left * x_scale, top * y_scale, right, bottom


def _resized(size: tuple[int, int], target: int, mode: str) -> tuple[int, int]:
    width, height = size
    if mode == "squash":
        return target, target
    if mode == "longest":  # open_clip's ResizeKeepRatio with longest=1
        ratio = max(width, height) / target
        return max(round(width / ratio), 1), max(round(height / ratio), 1)
    if width <= height:
        return target, int(target * height / width)
    return int(target * width / height), target


def _padded(image: Image.Image, target: int, fill_color: int) -> Image.Image:
    x, y = max(target - image.width, 0), max(target - image.height, 0)
    if not x and not y:
        return image
    n_bands = len(image.getbands())
    fill = (fill_color,) * n_bands if n_bands > 1 else fill_color
    return ImageOps.expand(image, border=(x // 2, y // 2, (x + 1) // 2, (y + 1) // 2), fill=fill)


def _domain_id(domain: Any) -> int | None:
    try:
        return None if domain is None else int(domain)
    except (TypeError, ValueError, OverflowError):  # NaN and words
        return None


def read_config(folder: Path) -> dict[str, Any]:
    """`config.json` of a model folder whose files are all there and as they were written; weights stay unread.

    Raises: ModelFolderError with all problems.
    """
    if not folder.is_dir():
        raise ModelFolderError(
            [f"a model must be a folder, but {folder} is {'a file' if folder.exists() else 'not there'}"]
        )
    problems = []
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        if not isinstance(config, dict) or config.get("kind") != KIND or not isinstance(config.get("sha256"), dict):
            problems.append(f"{folder / CONFIG} must be that of an exported model, but is another file of that name")
        elif config.get("format_version") != FORMAT_VERSION:
            problems.append(
                f"{folder / CONFIG} must have format_version {FORMAT_VERSION}, but has {config.get('format_version')}; "
                "it was written by another version of sentinel-tune: use that one"
            )
    except (OSError, ValueError) as error:
        problems.append(f"{folder / CONFIG} must be a JSON file, but reading it failed: {error}")
    problems += _weights_problems(folder)
    if not problems:
        checked = (_file_problem(folder, name, digest, config) for name, digest in config["sha256"].items())
        problems = [problem for problem in checked if problem]
    if problems:
        raise ModelFolderError(problems)
    return dict(config)


def config_digest(config: Mapping[str, Any]) -> str:
    """Hex sha256 of a configuration's values, those of files left out."""
    rest = {name: value for name, value in config.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _weights_problems(folder: Path) -> list[str]:
    path = folder / WEIGHTS
    if path.is_file():
        with path.open("rb") as file:
            is_safetensors = file.read(9)[8:] == b"{"  # 8 bytes of a length, then JSON
        return [] if is_safetensors else [f"{path} must be safetensors, but is not; it is refused unread"]
    pickles = sorted(file.name for file in folder.iterdir() if file.suffix in _PICKLES)
    if pickles:
        names = ", ".join(pickles)
        return [f"weights must be {path}, but there is only {names}: a pickle, which can run code, is refused unread"]
    return [f"{path} must exist, but does not; export or download the model again"]


def _file_problem(folder: Path, name: str, digest: str, config: Mapping[str, Any]) -> str | None:
    if name == CONFIG:
        same = digest == config_digest(config)
    elif PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        return f"{folder / CONFIG} must name files inside of the folder, but names {name!r}"
    elif not (folder / name).is_file():
        return f"{folder / name} must exist, but does not; export or download the model again"
    else:
        same = digest == file_digest(folder / name)
    return None if same else f"{folder / name} must be as it was exported, but was altered (its sha256 differs)"


def _build_members(config: Mapping[str, Any], state: Mapping[str, Tensor]) -> list[Network]:
    """The networks; what members share is shared in memory."""
    shared = {name: value for name, value in state.items() if not name.startswith("member_")}
    members = []
    for index in range(config["n_members"]):
        prefix = f"member_{index}."
        own = {name[len(prefix) :]: value for name, value in state.items() if name.startswith(prefix)}
        with torch.device("meta"):  # no weights are drawn
            network = Network(
                _tower(config["model_cfg"]),
                domain_shape=config["domain_code"],
                head_widths=config["head_widths"],
            )
        network.load_state_dict({**shared, **own}, strict=True, assign=True)
        members.append(network)
    return members


def _tower(model_cfg: Mapping[str, Any]) -> nn.Module:
    if model_cfg["vision_cfg"].get("timm_model_name"):
        raise ValueError("its tower is timm's and not open_clip's VisionTransformer")
    clip = open_clip.CLIP(
        embed_dim=model_cfg["embed_dim"],
        vision_cfg=dict(model_cfg["vision_cfg"]),
        text_cfg=dict(_NO_TEXT),
        quick_gelu=bool(model_cfg.get("quick_gelu", False)),
    )
    visual: nn.Module = clip.visual
    return visual
