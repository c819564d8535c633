"""What a group's own training events forecast for it: a floor, as a table with a row a group and one for all others."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from jaxtyping import Float64, Int64, Shaped
from numpy.typing import ArrayLike, NDArray

from trainable.config import NO_NAME
from trainable.scoring.crps import Floats
from trainable.scoring.rule import Rule
from trainable.scoring.targets import Targets, event_labels

if TYPE_CHECKING:
    from trainable.data.splits import Split

BY_DOMAIN, BY_SPECIES = "domain_mean", "species_mean"
"""Names of the floors that are such tables."""


@dataclass(frozen=True, eq=False, kw_only=True)
class GroupFloor:
    """known: groups of training events, ascending. table: [known + 1, outputs]; the last row is that of all others."""

    known: NDArray[np.generic]
    table: Float64[Floats, "rows outputs"]

    @classmethod
    def of(
        cls,
        labels: Float64[Floats, "specimens targets"],
        event_ids: Shaped[NDArray[np.generic], " specimens"],
        groups: Shaped[NDArray[np.generic], " specimens"],
        train: Int64[NDArray[np.int64], " train"],
        *,
        known: NDArray[np.generic],
        rule: Rule,
    ) -> Self:
        """Of each known group's training events, each counted once; of all training events for whatever is none."""
        constant = rule.constant(event_labels(labels, event_ids, train))
        of_groups = [
            rule.constant(event_labels(labels, event_ids, train[groups[train] == group]), constant) for group in known
        ]
        return cls(known=known, table=np.stack([*of_groups, constant]))

    def predictions(self, groups: Shaped[NDArray[np.generic], " specimens"]) -> Float64[Floats, "specimens outputs"]:
        """For specimens of these groups."""
        row = {group: index for index, group in enumerate(self.known.tolist())}
        return self.table[[row.get(group, len(row)) for group in groups.tolist()]]


def group_floors(
    labels: ArrayLike,
    event_ids: ArrayLike,
    domain_ids: ArrayLike,
    species: ArrayLike,
    split: "Split",
    *,
    targets: Targets,
) -> dict[str, GroupFloor]:
    """Name -> floor, by what an exported model is told of a specimen: its domain, and its species where it has one.

    None for a task without domains: what is forecast by floors, events of known domains, cannot be told there.
    """
    if targets.task.columns.domain is None:
        return {}
    values, events = np.asarray(labels, dtype=np.float64), np.asarray(event_ids)
    train = np.asarray(split.train, dtype=np.int64)
    known, groups = np.unique(np.asarray(domain_ids)[train]), np.asarray(domain_ids)
    floors = {BY_DOMAIN: GroupFloor.of(values, events, groups, train, known=known, rule=targets.rule)}
    if targets.task.covariates:
        names = np.asarray(species)
        known = np.array([name for name in np.unique(names[train]).tolist() if name != NO_NAME], dtype=np.str_)
        floors[BY_SPECIES] = GroupFloor.of(values, events, names, train, known=known, rule=targets.rule)
    return floors


@dataclass(frozen=True, eq=False, kw_only=True)
class SharedFloor:
    """A floor's share of what a model forecasts of known domains. by: "domain" or "species", which picks the row."""

    by: str
    share: float
    floor: GroupFloor


def shared_floors(floors: Mapping[str, GroupFloor], shares: Mapping[str, float]) -> list[SharedFloor]:
    """shares: of some of the floors, by name."""
    by = {BY_DOMAIN: "domain", BY_SPECIES: "species"}
    return [SharedFloor(by=by[name], share=share, floor=floors[name]) for name, share in shares.items()]
