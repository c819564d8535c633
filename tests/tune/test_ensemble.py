"""The ensemble of the confirmed: the mean of those near the best, chosen without what it forecasts, and trained so."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from search_spaces.variant import load_variant
from tests.trainable.rounding import TINY_TERMS, assert_rounded, predicted_in_float64
from tests.tune.plain_entries import read_plain
from trainable.data.splits import Split
from trainable.export.standalone import ExportedModel
from trainable.scoring.out_of_fold import Difference
from trainable.scoring.scoring import HeldOutScorer
from trainable.training.held_out_predictions import save_predictions
from trainable.training.trial_data import TrialData
from tune.cli import main
from tune.command_line.model_options import RetrainOptions
from tune.confirming.ensemble import ensemble_predictions
from tune.confirming.held_out import HeldOutFolds
from tune.confirming.outcome import Confirmed, ConfirmedConfiguration, confirmed_of
from tune.confirming.planned_runs import Configuration, Plan
from tune.confirming.predicted import Predicted
from tune.confirming.runs import Confirmation, fold_data_folder
from tune.confirming.verdict import Judged, decide, judge
from tune.journal.journal import read_entries
from tune.models.recipe import recipe_of

EPOCHS = 2
NAMES = ("t0001", "t0002", "t0003", "default")


def configuration(name: str, rank: int) -> Configuration:
    config = load_variant("default", epochs=EPOCHS).with_values({"adapter.rank": rank})
    return Configuration(name=name, trial_id=None, config=config.to_dict())


class Planted:
    """A confirmation on the real folds of a study, whose predictions are labels and noise, as told."""

    def __init__(self, study: Path, folder: Path) -> None:
        self.folder, self.header = folder, read_plain(study)[0]["header"]
        shutil.copytree(study / "data", folder / "data")
        (folder / "checkpoints").mkdir()
        self.folds = tuple(sorted(int(path.name.partition("-")[2]) for path in (folder / "data").glob("fold-*")))
        self.data = {fold: TrialData.load(fold_data_folder(folder / "data", fold)) for fold in self.folds}
        self.predicted: dict[tuple[str, int, int, int], np.ndarray] = {}
        self.seen = self.held_out(TrialData.load(folder / "data"))

    @staticmethod
    def held_out(data: TrialData) -> set[int]:
        rows = np.concatenate([rows for split in data.splits for rows in (split.id_, split.ood)])
        return set(data.event_ids[rows].tolist())

    def judge(
        self,
        noise_of: Callable[[str, np.ndarray], object],
        *,
        names: tuple[str, ...] = NAMES,
        seeds: tuple[int, ...] = (1,),
        with_ensemble: bool = True,
        with_floors: bool = False,
        folds: tuple[int, ...] | None = None,
    ) -> Judged:
        """noise_of: (name, event id of each prediction) -> SD of the noise."""
        configurations = tuple(configuration(name, 4 + i) for i, name in enumerate(names))
        confirmation = Confirmation()
        confirmation.begin(
            Plan(
                configurations=configurations,
                folds=folds or self.folds,
                seeds=seeds,
                epochs=EPOCHS,
                with_ensemble=with_ensemble,
                with_floors=with_floors,
            )
        )
        while (ask := confirmation.ask()) is not None:
            data, name = self.data[ask.fold], ask.origin.partition(":")[2]
            scorer = HeldOutScorer(data.labels, data.event_ids, data.site_ids, data.split)
            rows = np.concatenate([data.split.id_, data.split.ood])
            for epoch in range(1, EPOCHS + 1):
                noise = np.random.default_rng([ask.number, epoch]).normal(size=(len(rows), 3))
                sd = np.broadcast_to(noise_of(name, data.event_ids[rows]), len(rows))[:, None]
                predictions = (data.labels[rows] + sd * noise).astype(np.float32)
                save_predictions(self.folder / "checkpoints" / ask.trial_id, epoch, predictions)
                self.predicted[name, ask.fold, ask.seed, epoch] = predictions
                confirmation.report(ask.trial_id, epoch, scorer.score(predictions))
        self.confirmation = confirmation
        return judge(self.folder, confirmation, search_fold=0, header=self.header)

    def events(self, fold: int, predictions: np.ndarray) -> dict[int, tuple[str, np.ndarray, np.ndarray]]:
        """Fresh event -> part, label, mu: written out plainly."""
        split, data = self.data[fold].split, self.data[fold]
        found: dict[int, tuple[str, np.ndarray, np.ndarray]] = {}
        parts = np.array(["id"] * len(split.id_) + ["ood"] * len(split.ood))
        rows, clipped = np.concatenate([split.id_, split.ood]), np.clip(predictions, -2.09, 2.09)
        for event in sorted(set(data.event_ids[rows].tolist()) - self.seen):
            own = np.flatnonzero(data.event_ids[rows] == event)
            found[event] = (parts[own[0]], data.labels[rows[own[0]]], clipped[own].mean(axis=0))
        return found

    def floor(self, fold: int, by: str) -> np.ndarray:
        """What each held-out specimen's group had among the training events, each counted once: written out plainly."""
        data = self.data[fold]
        groups = {"domain_mean": data.domain_ids, "species_mean": data.species}[by]
        label_of = {data.event_ids[row]: data.labels[row].astype(np.float64) for row in data.split.train}
        found = []
        for row in np.concatenate([data.split.id_, data.split.ood]):
            own = {data.event_ids[other] for other in data.split.train if groups[other] == groups[row]}
            found.append(np.mean([label_of[event] for event in own or label_of], axis=0))
        return np.array(found)

    def error_of(self, predictions: dict[int, np.ndarray], *, without: int | None) -> float:
        """As `error`, of one array a fold, of events of known domains alone; NaN where there are fewer than ten."""
        apart, squared = set() if without is None else set(self.events(without, predictions[without])), {}
        for fold in self.folds:
            if fold != without:
                for event, (part, label, mu) in self.events(fold, predictions[fold]).items():
                    if event not in apart and part == "id":
                        squared.setdefault(part, []).append((label - mu) ** 2)
        return float(np.sqrt(np.mean(squared["id"]))) if len(squared.get("id", ())) >= 10 else float("nan")

    def error(self, name: str, seeds: tuple[int, ...], *, without: int | None, epoch: int) -> float:
        """Root mean square over parts and targets of root mean squared errors, the fold's own events left out."""
        apart = set() if without is None else self.events(without, self.predicted[name, without, seeds[0], epoch])
        squared: dict[str, list[np.ndarray]] = {}
        for fold in self.folds:
            for seed in seeds if fold != without else ():
                for event, (part, label, mu) in self.events(fold, self.predicted[name, fold, seed, epoch]).items():
                    if event not in apart:
                        squared.setdefault(part, []).append((label - mu) ** 2)
        roots = np.concatenate([np.sqrt(np.mean(errors, axis=0)) for errors in squared.values()])
        return float(np.sqrt(np.mean(roots**2)))

    def best_epoch(self, name: str, *, without: int | None) -> int:
        runs = [run for run in self.confirmation.runs() if run.name == name and run.fold != without]
        return 1 + int(np.argmin([np.mean([run.record.scores[e] for run in runs]) for e in (1, 2)]))


@pytest.fixture
def planted(confirmed_study: Path, tmp_path: Path) -> Planted:
    return Planted(confirmed_study, tmp_path / "planted")


def test_each_fold_is_forecast_by_those_that_the_others_found_near_the_best_and_sigma_is_fitted_anew(planted):
    noise, seeds = {"t0001": 0.9, "t0002": 0.3, "t0003": 1.5, "default": 0.35}, (1, 2)
    judged = planted.judge(lambda name, *_: noise[name], seeds=seeds)

    ensemble = judged.confirmed.candidate("ensemble")
    assert ensemble.members == ("t0002", "default")
    assert (ensemble.trial_id, ensemble.config) == (None, {})
    for fold in planted.folds:
        epochs = {name: planted.best_epoch(name, without=fold) for name in NAMES}
        errors = {name: planted.error(name, seeds, without=fold, epoch=epochs[name]) for name in NAMES}
        for i, seed in enumerate(seeds):
            of_each = [planted.predicted[name, fold, seed, epochs[name]].astype(np.float64) for name in near(errors)]
            wanted = planted.events(fold, np.mean(of_each, axis=0))
            for name, part in judged.forecasts["ensemble"].parts.items():
                rows = part.folds == fold
                for event, label, mu in zip(part.event_ids[rows], part.labels[rows], part.mu[i][rows], strict=True):
                    assert wanted[int(event)][0] == name
                    assert np.array_equal(wanted[int(event)][1], label)
                    np.testing.assert_allclose(mu, wanted[int(event)][2], rtol=1e-9)
    best = min(judged.confirmed.candidate(name).metrics["score/all"] for name in NAMES)
    assert ensemble.metrics["score/all"] < best  # noise of two, independent


def test_what_a_member_is_good_at_on_a_fold_does_not_choose_it_for_that_fold(planted):
    """Perfect on the first fold and hopeless on the second: chosen for the second alone, where it harms."""
    first, second = planted.folds
    plain = {"t0002": 0.5, "t0003": 0.6, "default": 0.7}

    def noise(name, events):
        if name in plain:
            return plain[name]
        return np.where(np.isin(events, [*planted.held_out(planted.data[first])]), 0, 3)

    judged = planted.judge(noise)

    assert judged.confirmed.candidate("t0001").fold_scores[first] < 0.05
    for fold, half in ((first, ("t0002", "t0003")), (second, ("t0001", "t0002"))):
        of_each = [planted.predicted[name, fold, 1, planted.best_epoch(name, without=fold)] for name in half]
        wanted = planted.events(fold, np.mean(of_each, axis=0, dtype=np.float64))
        for part in judged.forecasts["ensemble"].parts.values():
            for event, mu in zip(part.event_ids[part.folds == fold], part.mu[0][part.folds == fold], strict=True):
                np.testing.assert_allclose(mu, wanted[int(event)][2], rtol=1e-6)


def nested_folds() -> tuple[HeldOutFolds, np.ndarray, np.ndarray]:
    """Fold 1 holds out domains 0 and 1, fold 2 these and 2, and so fold 1 no others than fold 2; labels, domains."""
    events = np.arange(48)
    domains, sites = events // 12, np.array([f"S{e // 6}" for e in events])
    labels = np.random.default_rng(0).uniform(-2, 2, (48, 3))
    of_fold = {fold: np.flatnonzero(domains <= fold) for fold in (1, 2)}
    splits = {
        fold: Split("domain", fold, np.flatnonzero(domains > fold), rows[:0], rows, (), tuple(range(fold + 1)), 0)
        for fold, rows in of_fold.items()
    }
    held_out = HeldOutFolds(
        scorers={fold: HeldOutScorer(labels, events, sites, split) for fold, split in splits.items()},
        floors={}, group_floors={}, is_known={}, seen=events[:0], n_left_out=0, n_seen=0,
        domain_of_site=dict(zip(sites.tolist(), domains.tolist(), strict=True)),
    )  # fmt: skip
    return held_out, labels, domains


def test_where_other_folds_hold_out_no_other_events_those_of_other_domains_choose():
    held_out, labels, domains = nested_folds()
    errors = {"both": (0.3, 0.3), "zero": (0.1, 0.85), "one": (0.9, 0.1), "none": (0.8, 0.8)}  # in domain 0, in 1
    rows = {fold: np.flatnonzero(domains <= fold) for fold in (1, 2)}

    def predicted(name: str) -> Predicted:
        error = np.array([*errors[name], 0.5, 0.5])[domains][:, None]
        return Predicted(
            name=name,
            curves={1: np.zeros(1), 2: np.zeros(1)},
            read=lambda fold, _: [(labels + (-1) ** fold * error)[rows[fold]]],
        )

    members = {name: predicted(name) for name in errors}
    found = ensemble_predictions(list(members.values()), held_out, with_floors=False)

    chosen = {0: ("both", "one"), 1: ("both", "zero"), 2: ("both", "zero")}  # by domain 1, by 0, and by both
    for domain, half in chosen.items():
        own = domains[rows[2]] == domain
        wanted = np.mean([members[name].of(2, 1)[0][own] for name in half], axis=0)
        np.testing.assert_allclose(found[2][0][own], wanted, rtol=1e-12)
    of_all = np.mean([member.of(1, 1)[0] for member in members.values()], axis=0)
    np.testing.assert_allclose(found[1][0], of_all, rtol=1e-12)  # for it fold 2 holds out domain 2, where all err alike


def near(errors: dict[str, float]) -> list[str]:
    """At most a fifth more than the least, but two."""
    ranked = sorted(errors, key=errors.get)
    return [name for name in ranked if name in ranked[:2] or errors[name] <= 1.2 * errors[ranked[0]]]


def test_floors_have_shares_of_each_fold_by_how_they_err_on_the_others(planted):
    judged = planted.judge(lambda *_: 3.3, with_floors=True)

    whole = judged.confirmed.candidate("ensemble").floor_shares
    assert 0.02 < sum(whole.values()) <= 0.5  # else little is shown
    for fold in (None, *planted.folds):
        epochs = {name: planted.best_epoch(name, without=fold) for name in NAMES}
        errors = {name: planted.error(name, (1,), without=fold, epoch=epochs[name]) for name in NAMES}
        sources = {"": {}, "domain_mean": {}, "species_mean": {}}
        for other in planted.folds:
            of_each = [planted.predicted[name, other, 1, epochs[name]].astype(np.float64) for name in near(errors)]
            sources[""][other] = np.mean(of_each, axis=0)
            sources |= {by: sources[by] | {other: planted.floor(other, by)} for by in ("domain_mean", "species_mean")}
        weights = {name: planted.error_of(of, without=fold) ** -20.0 for name, of in sources.items()}
        own = weights.pop("")
        of_floors = min(sum(weights.values()) / (own + sum(weights.values())), 0.5)
        shares = {name: of_floors * weight / sum(weights.values()) for name, weight in weights.items()}
        kept = {name: share for name, share in shares.items() if share >= 0.01}  # none where they are NaN
        if fold is None:
            assert whole == pytest.approx(kept)
            continue
        kept[""] = 1 - sum(kept.values())
        mixed = sum(share * sources[name][fold] for name, share in kept.items())
        n_known = len(planted.data[fold].split.id_)
        mixed[n_known:] = sources[""][fold][n_known:]  # of unknown domains
        wanted = planted.events(fold, mixed)
        for part in judged.forecasts["ensemble"].parts.values():
            for event, mu in zip(part.event_ids[part.folds == fold], part.mu[0][part.folds == fold], strict=True):
                np.testing.assert_allclose(mu, wanted[int(event)][2], rtol=1e-9, atol=1e-12)


@pytest.mark.seconds
@pytest.mark.parametrize("noise", [0.0, 1e-9, 1e-3])
def test_where_a_floor_errs_next_to_nowhere_half_is_left_for_the_trained(planted, noise):
    """Labels that are one and the same within a domain, but for a little."""
    rng = np.random.default_rng(0)
    for data in [TrialData.load(planted.folder / "data"), *planted.data.values()]:
        drawn = {event: rng.normal(size=3) for event in np.unique(data.event_ids).tolist()}
        labels = [
            d / 100 + noise * drawn[e] for d, e in zip(data.domain_ids.tolist(), data.event_ids.tolist(), strict=True)
        ]
        data.labels[:] = np.asarray(labels, dtype=np.float32)
    for fold in planted.folds:
        planted.data[fold].save(fold_data_folder(planted.folder / "data", fold))
    shares = planted.judge(lambda *_: 1.0, with_floors=True).confirmed.candidate("ensemble").floor_shares

    assert sum(shares.values()) == pytest.approx(0.5)
    assert shares["domain_mean"] > 0.45


def test_beside_configurations_that_see_nearly_all_floors_have_no_share(planted):
    plain, beside = (planted.judge(lambda *_: 0.3, with_floors=with_floors) for with_floors in (False, True))

    assert beside.confirmed.candidate("ensemble").floor_shares == {}
    assert plain.confirmed == beside.confirmed


def test_the_level_is_that_of_one_more_candidate_and_the_result_comes_back(planted):
    alone = planted.judge(lambda *_: 0.5, with_ensemble=False).confirmed
    shutil.rmtree(planted.folder / "checkpoints")
    (planted.folder / "checkpoints").mkdir()
    beside = planted.judge(lambda *_: 0.5).confirmed

    assert [c.name for c in alone.candidates if c.members] == []
    assert (alone.level, beside.level) == (pytest.approx(1 - 0.1 / 3), pytest.approx(1 - 0.1 / 4))
    levels = {c.name: c.difference.level for c in beside.candidates if c.difference is not None}
    assert levels.pop("ensemble") == pytest.approx(0.9)  # asked first, with the whole probability of an error
    assert set(levels.values()) == {beside.level}
    assert (alone.asked_first, beside.asked_first) == (None, "ensemble")
    assert Confirmed.from_dict(json.loads(json.dumps(beside.to_dict()))) == beside
    assert [c.name for c in beside.members_of(beside.candidate("ensemble"))] == [
        c.name for c in beside.candidates if c.name in beside.candidate("ensemble").members
    ]
    for name in NAMES:  # but for its interval on the default, as it was
        one, other = alone.candidate(name), beside.candidate(name)
        assert (one.metrics, one.intervals, one.epoch) == (other.metrics, other.intervals, other.epoch)


def candidate(name: str, high: float, members: tuple[str, ...] = ()) -> ConfirmedConfiguration:
    """Which scores as its interval ends."""
    difference = Difference(mean=high - 0.02, low=high - 0.04, high=high, level=0.9, p_better=0.97)
    return ConfirmedConfiguration(
        name=name, trial_id=None, config={}, epoch=1, metrics={"score/all": 0.4 + high}, intervals={},
        difference=None if name == "default" else difference, fold_scores={}, members=members,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("highs", "winner"),
    [
        ({"ensemble": -0.01, "t0001": 0.01, "t0002": 0.01}, "ensemble"),
        ({"ensemble": -0.01, "t0001": -0.02, "t0002": 0.01}, "t0001"),  # both win, and it has the better mean
        ({"ensemble": 0.001, "t0001": -0.02, "t0002": 0.01}, None),
        ({"t0001": -0.02, "t0002": 0.01}, "t0001"),  # no ensemble, which nothing waits for
        ({"ensemble": 0.001, "t0001": 0.002, "t0002": 0.01}, None),
        ({"ensemble": 0.001, "t0001": -0.02}, "t0001"),  # of one candidate, that is asked first
        ({"ensemble": -0.02, "t0001": 0.001}, None),
    ],
)
def test_the_ensemble_is_asked_first_and_others_win_only_where_it_does(highs, winner):
    rivals = [candidate(name, high, ("t0001", "t0002") * (name == "ensemble")) for name, high in highs.items()]
    ranked = sorted([*rivals, candidate("default", 0.02)], key=lambda c: c.metrics["score/all"])
    won, is_win, words = decide(ranked, failed=(), diverged=())

    assert (won, is_win) == (winner or "default", winner is not None)
    first = "ensemble" if len(highs) == 3 else "t0001"
    waits = f"lies above 0, but that counts only where that of {first} does, which is asked first"
    assert words.endswith(waits) == (winner is None and min(highs.values()) < 0)


def test_where_a_variant_is_called_so_the_ensemble_is_called_otherwise(planted):
    confirmed = planted.judge(lambda *_: 0.5, names=("ensemble", "default")).confirmed

    assert [c.name for c in confirmed.candidates if c.members] == ["ensemble-of-all"]
    assert set(confirmed.candidate("ensemble-of-all").members) == {"ensemble", "default"}


@pytest.mark.parametrize("given", [{"names": ("default",)}, {"folds": "first"}])
def test_one_configuration_or_one_fold_make_no_ensemble(planted, given):
    given = {"folds": planted.folds[:1]} if "folds" in given else given

    assert not [c for c in planted.judge(lambda *_: 0.5, **given).confirmed.candidates if c.members]


def test_a_plan_of_before_has_no_ensemble_and_stays_as_it_was():
    values = {"configurations": [], "folds": [1], "seeds": [2], "epochs": 3}

    of_before = Plan(configurations=(), folds=(1,), seeds=(2,), epochs=3, with_ensemble=False, with_floors=False)
    assert Plan.from_dict(values) == of_before


# --- trained, exported and used


@pytest.fixture(scope="module")
def ensemble(confirmed_study: Path, tracking_uri: str, tmp_path_factory) -> Path:
    """The ensemble of `confirmed_study`, retrained, exported and registered; not to be changed."""
    folder = tmp_path_factory.mktemp("ensemble") / "out"
    options = ["--workers", "1", "--out", str(folder), "--tracking-uri", tracking_uri, "--name", "ensembles-of-tests"]
    assert main(["retrain", str(confirmed_study), "--trial", "ensemble", *options]) == 0
    return folder


@pytest.mark.seconds
def test_an_ensemble_is_a_member_a_part_trained_as_it_alone_would_be(ensemble, confirmed_study):
    confirmed, entries = confirmed_of(read_entries(confirmed_study)), read_entries(confirmed_study)
    candidate = confirmed.candidate("ensemble")
    model = ExportedModel.load(ensemble / "model")
    facts = model.config["facts"]

    assert {member["name"] for member in facts["members"]} == set(candidate.members)
    assert len(model.members) == len(candidate.members) >= 2
    for member in facts["members"]:
        alone = recipe_of(RetrainOptions(study=confirmed_study, trial=member["name"]), entries)
        assert alone.members == [(alone.parts[0], member["seed"])]
        assert (alone.parts[0].config.to_dict(), alone.epochs) == (member["config"], member["epochs"])
    assert facts["scores"]["score/all"] == candidate.metrics["score/all"]
    assert json.loads((ensemble / "model" / "confirmation.json").read_text())["members"] == list(candidate.members)
    card = (ensemble / "model" / "README.md").read_text()
    assert f"the mean of {len(candidate.members)} networks" in card
    assert all(f"* member `{name}`: " in card for name in candidate.members)


@pytest.mark.seconds
def test_an_exported_ensemble_predicts_the_mean_of_its_members(ensemble):
    model = ExportedModel.load(ensemble / "model")
    pixels = model.pixels([Image.new("RGB", (40, 30), (shade, 90, 40)) for shade in (20, 200)])
    alone = []
    for member in model.members:
        whole = {name: value for name, value in model.config.items() if name != "members"}
        alone.append(predicted_in_float64(ExportedModel(whole, [member]), pixels, [1, None]))

    assert_rounded(model.predict_pixels(pixels, [1, None]), np.mean(alone, axis=0), TINY_TERMS)
    assert not np.allclose(alone[0], alone[1])


@pytest.mark.slow
def test_an_ensemble_is_evaluated_submitted_and_predicts_as_any_model(ensemble, cli, tmp_path):
    told = cli("evaluate", ensemble / "model", "--no-track", "--out", tmp_path / "report", "--events", "all", "--json")
    submitted = cli("export", ensemble / "model", "--submission", tmp_path / "submission")

    assert (told.status, submitted.status) == (0, 0), told.stderr + submitted.stderr
    page = "".join(file.read_text() for file in (tmp_path / "report").rglob("*.html"))
    facts = ExportedModel.load(ensemble / "model").config["facts"]
    assert all(f"Training configuration of {member['name']}" in page for member in facts["members"])
    one, other = ExportedModel.load(ensemble / "model"), ExportedModel.load(tmp_path / "submission")
    pixels = one.pixels([Image.new("RGB", (40, 30), (90, 90, 40))])
    assert np.array_equal(one.predict_pixels(pixels, [1]), other.predict_pixels(pixels, [1]))


def test_the_same_command_again_trains_nothing_and_another_recipe_is_refused(
    ensemble, cli, confirmed_study, tracking_uri
):
    options = ["--workers", 1, "--out", ensemble, "--tracking-uri", tracking_uri]
    again = cli("retrain", confirmed_study, "--trial", "ensemble", *options, "--name", "ensembles-of-tests")
    other = cli("retrain", confirmed_study, "--trial", "default", *options, "--no-register")

    assert again.status == 0, again.stderr
    assert "trained and exported already" in again.stderr
    assert other.status == 2
    assert "members" in other.stderr
