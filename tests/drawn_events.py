"""Events at places of regions, an image each, and a split: places of two regions and all of a third are held out."""

from dataclasses import dataclass, field

import numpy as np

from trainable.data.splits import Split

N_SITES, _FIRST_HELD_OUT, _OOD_REGION = 12, 8, 2


@dataclass(frozen=True, eq=False)
class DrawnEvents:
    """n events in turn at 12 places of 3 regions, of 2 genera; arrays [n]. rows: those held out, ID before OOD."""

    n: int
    events: np.ndarray = field(init=False)
    sites: np.ndarray = field(init=False)
    domains: np.ndarray = field(init=False)
    genus: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        events = np.arange(self.n)
        object.__setattr__(self, "events", events)
        object.__setattr__(self, "sites", np.array([f"place {event % N_SITES}" for event in events]))
        object.__setattr__(self, "domains", np.array([f"region {event % 3}" for event in events]))
        object.__setattr__(self, "genus", np.array(["Quercus", "Acer"])[events % 2])

    def split(self) -> Split:
        held_out, ood = self.events % N_SITES >= _FIRST_HELD_OUT, self.events % 3 == _OOD_REGION
        return Split(
            policy="both",
            fold=0,
            train=np.flatnonzero(~held_out & ~ood),
            id_=np.flatnonzero(held_out & ~ood),
            ood=np.flatnonzero(ood),
            held_out_sites=(),
            held_out_domains=(),
            n_leaked_events=0,
        )

    @property
    def rows(self) -> np.ndarray:
        return np.concatenate([self.split().id_, self.split().ood])
