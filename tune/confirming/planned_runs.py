"""What a confirmation runs: configurations, each on the same folds with the same seeds."""

from collections.abc import Iterator
from dataclasses import dataclass

from trainable.config import n_epochs_of
from trainable.plain_values import JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """What is to be confirmed. trial_id: of the search; None when it did not run it.

    at_most: epochs after which the search ended it as past its best; None where it went its whole length, or was
    stopped on its way.
    """

    name: str
    trial_id: str | None
    config: JsonObject
    at_most: int | None = None

    @property
    def n_epochs(self) -> int:
        """Of each of its runs."""
        full = n_epochs_of(self.config["epochs"], self.config.get("length", 1.0))
        return min(full, self.at_most or full)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All configurations are run on all folds with all seeds. epochs: of the longest.

    with_ensemble: whether the mean of their forecasts is judged beside them, which takes no run; with_floors: whether
    floors have shares in it. Older plans have none.
    """

    configurations: tuple[Configuration, ...]
    folds: tuple[int, ...]
    seeds: tuple[int, ...]
    epochs: int
    with_ensemble: bool = False
    with_floors: bool = False

    @classmethod
    def from_dict(cls, values: JsonObject) -> "Plan":
        """Inverse of `dataclasses.asdict`, also after JSON."""
        return cls(
            configurations=tuple(Configuration(**entry) for entry in values["configurations"]),
            folds=tuple(values["folds"]),
            seeds=tuple(values["seeds"]),
            epochs=values["epochs"],
            with_ensemble=values.get("with_ensemble", False),
            with_floors=values.get("with_floors", False),
        )

    def cells(self) -> Iterator[tuple[Configuration, int, int]]:
        """(configuration, fold, seed), so that what is compared is run one after the other: when time is up, whole
        folds are there.
        """
        for seed in self.seeds:
            for fold in self.folds:
                for configuration in self.configurations:
                    yield configuration, fold, seed
