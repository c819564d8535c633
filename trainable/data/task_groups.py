"""Which columns of a table group its rows: event, site and domain by what lies within what, and a category beside."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from trainable.data.class_guess import ClassGuess, determines
from trainable.data.column_facts import ColumnFacts

LEAST_DOMAINS = 3
"""Of a domain, where a finer group has so many: fewer leave too little to train on when one is held out."""


@dataclass(slots=True, kw_only=True)
class TaskGroups:
    """What the groups among a table's columns are for.

    rows: cells as text. names: of the columns that may be groups; those that only tell who was there are taken out.
    columns: role -> column, as a task file has them. reasons: column -> why it is what it is, or left out.
    """

    rows: pd.DataFrame
    facts: Mapping[str, ColumnFacts]
    guess: ClassGuess
    names: list[str]
    columns: dict[str, str] = field(default_factory=dict)
    covariates: list[str] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)

    def find(self, *, with_gaps: Sequence[str], targets: Sequence[str]) -> None:
        """Name event, site, domain and covariate. with_gaps: columns of words that some rows lack. targets: columns."""
        rows = self.rows
        categories = [name for name in self.names if self.facts[name].is_category or self.facts[name].is_label]
        self._leave_out_people(categories)
        chain: list[str] = []
        for name in sorted((g for g in self.names if g not in categories), key=lambda g: -rows[g].nunique()):
            if chain and self.guess.same_classes(chain[-1], [name]):
                self.reasons[chain[-1]] = f"left out: it tells the same groups as {name}"
                chain[-1] = name
            elif not chain or (determines(rows, chain[-1], [name]) and self._may_be_coarse(name)):
                chain.append(name)
            else:
                categories.append(name)
        if chain and determines(rows, chain[0], targets):
            self.columns["event"] = chain.pop(0)
            self.reasons[self.columns["event"]] = "event: all of its photographs have the same labels"
        self._name_site_and_domain(chain)
        self._choose_covariate([*categories, *with_gaps], targets)

    def _may_be_coarse(self, name: str) -> bool:
        """Whether places may lie within it: what has two values and no name of a place is rather a trait of them."""
        facts = self.facts[name]
        return facts.is_place or facts.is_identity or facts.n_values >= LEAST_DOMAINS

    def _leave_out_people(self, categories: Sequence[str]) -> None:
        """Who took the photographs groups them where nothing else does, and is no category to forecast by."""
        people = [name for name in self.names if self.facts[name].is_person and name not in categories]
        if {*self.names} - {*categories, *people}:
            for name in people:
                self.reasons[name] = "left out: it tells who was there, beside groups that tell where"
                self.names.remove(name)

    def _name_site_and_domain(self, chain: Sequence[str]) -> None:
        """chain: groups, each within the next. The coarse ones are held out, since those within them are so, too."""
        if not chain:
            return
        enough = [place for place in range(1, len(chain)) if self.facts[chain[place]].n_values >= LEAST_DOMAINS]
        domain = enough[-1] if enough else len(chain) - 1
        site = max(0, domain - 1)
        roles = {"site": (site, "held out as a whole, so that no place is on two sides")}
        if domain > site:
            roles["domain"] = (domain, "each site lies in one")
        for name in chain[:site]:
            self.reasons[name] = f"left out: it lies within {chain[site]}"
        for role, (place, why) in roles.items():
            self.columns[role] = chain[place]
            self.reasons[chain[place]] = f"{role}: {self.facts[chain[place]].n_values} groups, {why}"
        for name in chain[domain + 1 :]:
            self.reasons[name] = f"left out: it is coarser than {chain[domain]}"

    def _choose_covariate(self, categories: Sequence[str], targets: Sequence[str]) -> None:
        classes = [name for name in targets if self.facts[name].kind == "text"] if len(targets) == 1 else []
        for name in sorted(categories, key=lambda name: self.facts[name].is_place):
            if classes and determines(self.rows[self.rows[name] != ""], name, classes):
                self.reasons[name] = f"left out: it tells {classes[0]} by itself"
            elif self.covariates:
                self.reasons[name] = "left out: a further category, of which one may be a covariate"
            else:
                self.covariates = [name]
                self.reasons[name] = "covariate: a category beside the groups; leave it out if no forecast will know it"
