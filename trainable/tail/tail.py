"""The trained part above the tap: blocks, `ln_post`, pooling, the codes of domain, species and numbers, the regressor.

tap -> [frozen blocks between] -> blocks -> ln_post, pool -> proj (frozen) -> unit norm -> + codes -> regressor
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from trainable.architecture import VisionArchitecture
from trainable.randomness import seeded_globally
from trainable.tail.blocks import fuse_block_state, make_block
from trainable.tail.number_code import NumberCode

HIDDEN_WIDTHS: dict[str, tuple[int, ...]] = {"mlp": (512, 128, 32), "narrow": (64,), "linear": ()}
"""Hidden layers of each kind of regressor; "mlp" as the published systems have them.

"narrow" has a ninth of its numbers (ViT-L), and still bends; "linear" is the probe of the best public entries.
"""


class CategoryCode(nn.Module):
    """A vector for each known domain or species and one for *unknown*, added to the unit-norm image feature.

    Embedding - Linear - GELU - Linear - LayerNorm, times scale / sqrt(embed_dim): a LayerNorm's output has norm
    sqrt(embed_dim) at the start, so the code's norm starts at `scale`.
    """

    def __init__(self, n_known: int, embed_dim: int, *, scale: float) -> None:
        """n_known: known categories, indices 0..n_known-1; index n_known is *unknown*."""
        super().__init__()
        self.gain = scale / embed_dim**0.5
        self.embedding = nn.Embedding(n_known + 1, embed_dim)
        self.hidden = nn.Linear(embed_dim, embed_dim)
        self.output = nn.Linear(embed_dim, embed_dim)
        self.norm = nn.LayerNorm(embed_dim)

    def forward(self, indices: Int64[Tensor, " batch"]) -> Float[Tensor, "batch embed_dim"]:
        """Indices of categories -> their codes."""
        table = self.norm(self.output(F.gelu(self.hidden(self.embedding.weight))))  # few rows: a dozen domains, say
        code: Tensor = F.embedding(indices, table) * self.gain
        return code

    def mixed(
        self,
        indices: Int64[Tensor, " batch"],
        partners: Int64[Tensor, " batch"] | None,
        shares: Float[Tensor, " batch"] | None,
    ) -> Float[Tensor, "batch embed_dim"]:
        """The codes of `indices`; where mixup gave partners, `share` of the own and the rest the partner's."""
        code: Tensor = self(indices)
        if partners is None or shares is None:
            return code
        return torch.lerp(self(partners), code, shares[:, None].to(code.dtype))


class Regressor(nn.Module):
    """embed_dim - hidden widths - outputs with GELU between, and dropout behind each GELU."""

    def __init__(
        self,
        embed_dim: int,
        *,
        n_outputs: int = 3,
        hidden_widths: Sequence[int] = HIDDEN_WIDTHS["mlp"],
        dropout: float = 0.0,
        learns_sigma: bool = False,
    ) -> None:
        """dropout: probability. learns_sigma: carry one log sigma an output for a loss that scores a distribution."""
        super().__init__()
        self.dropout = dropout
        self.layers = nn.ModuleList(
            nn.Linear(n_in, n_out) for n_in, n_out in pairwise((embed_dim, *hidden_widths, n_outputs))
        )
        # Labels are learnt with an SD close to 1, so log sigma starts at 0.
        self.log_sigma = nn.Parameter(torch.zeros(n_outputs)) if learns_sigma else None

    def forward(self, x: Float[Tensor, "batch embed_dim"]) -> Float[Tensor, "batch outputs"]:
        """Image features -> the units that are learnt."""
        *hidden, last = self.layers
        for layer in hidden:
            x = F.dropout(F.gelu(layer(x)), self.dropout, self.training)
        output: Tensor = last(x)
        return output


class Tail(nn.Module):
    """From tap features and what is known beside them to a value a target, or a logit a class. Built by `make_tail`."""

    proj: Float[Tensor, "width embed_dim"]

    def __init__(
        self,
        architecture: VisionArchitecture,
        *,
        between: list[nn.Module],
        blocks: list[nn.Module],
        ln_post: nn.LayerNorm,
        proj: Float[Tensor, "width embed_dim"],
        domain_code: CategoryCode | None,
        species_code: CategoryCode | None = None,
        number_code: NumberCode | None = None,
        head: Regressor,
    ) -> None:
        super().__init__()
        self.architecture = architecture
        self.between = nn.ModuleList(between)
        self.blocks = nn.ModuleList(blocks)
        self.ln_post = ln_post
        self.register_buffer("proj", proj)
        self.domain_code = domain_code
        self.species_code = species_code
        self.number_code = number_code
        self.head = head

    def forward(
        self,
        tokens: Float[Tensor, "batch tokens width"],
        domains: Int64[Tensor, " batch"],
        partner_domains: Int64[Tensor, " batch"] | None = None,
        shares: Float[Tensor, " batch"] | None = None,
        *,
        species: Int64[Tensor, " batch"] | None = None,
        partner_species: Int64[Tensor, " batch"] | None = None,
        numbers: Float[Tensor, "batch inputs"] | None = None,
    ) -> Float[Tensor, "batch outputs"]:
        """Tap features and indices of domains and species -> the units that are learnt.

        partner_domains, partner_species, shares: as `CategoryCode.mixed` takes them. species, numbers (as
        `NumberCode` takes them): needed by a code for them.
        Under autocast the blocks alone compute in half precision: what follows is a row an image.
        """
        features = self.embed(tokens)
        return self.regress(
            features,
            domains,
            partner_domains,
            shares,
            species=species,
            partner_species=partner_species,
            numbers=numbers,
        )

    def regress(
        self,
        features: Float[Tensor, "batch embed_dim"],
        domains: Int64[Tensor, " batch"],
        partner_domains: Int64[Tensor, " batch"] | None = None,
        shares: Float[Tensor, " batch"] | None = None,
        *,
        species: Int64[Tensor, " batch"] | None = None,
        partner_species: Int64[Tensor, " batch"] | None = None,
        numbers: Float[Tensor, "batch inputs"] | None = None,
    ) -> Float[Tensor, "batch outputs"]:
        """What `forward` makes of `embed`'s features."""
        with _without_autocast(features.device):
            if self.domain_code is not None:
                features = features + self.domain_code.mixed(domains, partner_domains, shares)
            if self.species_code is not None:
                if species is None:
                    raise ValueError("a tail with a species code must be given species, but got none")
                features = features + self.species_code.mixed(species, partner_species, shares)
            if self.number_code is not None:
                if numbers is None:
                    raise ValueError("a tail with a code for numbers must be given numbers, but got none")
                features = features + self.number_code(numbers)
            output: Tensor = self.head(features)
        return output

    def embed(self, tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch embed_dim"]:
        """Tap features -> unit-norm image features, of the weights' type: float32."""
        pooled = self._pool(self._run_blocks(tokens.to(self.proj.dtype)))
        with _without_autocast(tokens.device):
            return F.normalize(pooled.to(self.proj.dtype) @ self.proj, dim=-1)

    def _run_blocks(self, x: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch rows width"]:
        """Only the class token's row leaves the last block when nothing reads the others."""
        n_all = len(self.between) + len(self.blocks)
        only_class = self.architecture.pool == "tok"
        for i, block in enumerate([*self.between, *self.blocks]):
            with torch.no_grad() if i < len(self.between) else nullcontext():
                x = block(x, class_row_only=only_class and i == n_all - 1)
        return x[:, :1] if only_class else x

    def _pool(self, x: Float[Tensor, "batch rows width"]) -> Float[Tensor, "batch width"]:
        """The class token comes first."""
        if not self.architecture.ln_post_after_pool:
            x = self.ln_post(x)
        pooled = x[:, 0] if self.architecture.pool == "tok" else x[:, 1:].mean(dim=1)
        return self.ln_post(pooled) if self.architecture.ln_post_after_pool else pooled

    def open_clip_state(self) -> dict[str, Tensor]:
        """`between`, `blocks`, `ln_post` and `proj` under open_clip's names, to be loaded into a plain vision tower.

        Raises: ValueError while adapters are not merged.
        """
        all_blocks = [*self.between, *self.blocks]
        first = self.architecture.n_blocks - len(all_blocks)
        state: dict[str, Tensor] = {}
        for i, block in enumerate(all_blocks):
            state |= fuse_block_state(block.state_dict(), first + i)
        state |= {f"ln_post.{name}": value for name, value in self.ln_post.state_dict().items()}
        return state | {"proj": self.proj}


def make_tail(
    architecture: VisionArchitecture,
    open_clip_state: Mapping[str, Tensor],
    *,
    tap: int,
    n_blocks: int,
    n_domains: int,
    domain_scale: float,
    n_species: int = 0,
    species_scale: float = 0.0,
    n_numbers: int = 0,
    number_scale: float = 0.0,
    n_outputs: int = 3,
    head: Literal["mlp", "narrow", "linear"] = "mlp",
    head_dropout: float = 0.0,
    learns_sigma: bool = False,
    trains_blocks: bool = True,
    seed: int = 0,
) -> Tail:
    """A tail that reads `tap` and trains the top `n_blocks` blocks in full; those between run frozen.

    open_clip_state: float32 weights of the blocks from `tap` up, `ln_post` and `proj`. Those that train are copied, the
    others stay where they are, memory-mapped or shared. trains_blocks: False leaves the blocks frozen for adapters.
    domain_scale, species_scale, number_scale: norm of the code at the start; 0 leaves it out. n_domains, n_species:
    known ones. n_numbers: that are known when predicting.
    head: one of `HIDDEN_WIDTHS`. The global random state is not touched.
    Raises: ValueError when `tap` lies above the lowest trainable block.
    """
    n_between = architecture.n_blocks - n_blocks - tap
    if n_between < 0 or n_blocks < 0:
        raise ValueError(f"0 <= n_blocks <= {architecture.n_blocks - tap} must hold at tap {tap}, but got {n_blocks}")
    all_blocks = [make_block(architecture, open_clip_state, i) for i in range(tap, architecture.n_blocks)]
    ln_post = nn.LayerNorm(architecture.width, eps=architecture.ln_eps, device="meta")
    ln_post.load_state_dict({k: open_clip_state[f"ln_post.{k}"] for k in ("weight", "bias")}, assign=True)
    blocks = all_blocks[n_between:]
    for module in (*blocks, ln_post) if trains_blocks else (ln_post,):
        _own_weights(module)
    embed_dim = architecture.embed_dim
    with seeded_globally(seed, "regressor weights"):
        regressor = Regressor(
            embed_dim,
            n_outputs=n_outputs,
            hidden_widths=HIDDEN_WIDTHS[head],
            dropout=head_dropout,
            learns_sigma=learns_sigma,
        )
    with seeded_globally(seed, "domain weights"):
        domain_code = CategoryCode(n_domains, embed_dim, scale=domain_scale) if domain_scale else None
    with seeded_globally(seed, "species weights"):
        species_code = CategoryCode(n_species, embed_dim, scale=species_scale) if species_scale else None
    with seeded_globally(seed, "number weights"):
        number_code = NumberCode(n_numbers, embed_dim, scale=number_scale) if number_scale else None
    return Tail(
        architecture,
        between=list(all_blocks[:n_between]),
        blocks=list(blocks),
        ln_post=ln_post,
        proj=open_clip_state["proj"],
        domain_code=domain_code,
        species_code=species_code,
        number_code=number_code,
        head=regressor,
    )


def _own_weights(module: nn.Module) -> None:
    """Training must not write into memory that is mapped from the store or shared by other trials."""
    for part in module.modules():
        for name, value in part._parameters.items():
            if value is not None:
                part._parameters[name] = nn.Parameter(value.detach().clone())


def _without_autocast(device: torch.device) -> AbstractContextManager[object]:
    kind = device.type
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()
