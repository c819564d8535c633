"""The confirmation's core and its verdict: all pairs on equal folds and seeds, nothing repeated, luck found out."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from search_spaces.space import SearchSpace
from search_spaces.variant import load_variant
from tests.tune.plain_entries import read_plain
from trainable.data.task import beetles
from trainable.errors import UserError
from trainable.failure import Failure
from trainable.scoring.scoring import HeldOutScorer
from trainable.training.held_out_predictions import save_predictions
from trainable.training.trial_data import TrialData
from tune.command_line.options import SearchOptions
from tune.confirming.choice import make_plan
from tune.confirming.outcome import TRIED_AGAIN, Confirmed, confirmed_of, evidence, out_of_fold_of, write_evidence
from tune.confirming.planned_runs import Configuration, Plan
from tune.confirming.predicted import best_epoch
from tune.confirming.runs import Confirmation, complete_cells, fold_data_folder
from tune.confirming.verdict import judge
from tune.decisions.decisions import Decisions
from tune.decisions.standings import Standings
from tune.journal.entries import Confirming, JournalEntry, study_of
from tune.journal.journal import read_entries
from tune.journal.lines import as_read
from tune.report.confirmation_text import confirmation_text

EPOCHS = 3


def configuration(name: str, rank: int = 16, **changes: object) -> Configuration:
    config = load_variant("default", epochs=EPOCHS).with_values({"adapter.rank": rank, **changes})
    return Configuration(name=name, trial_id=None, config=config.to_dict())


PLAN = Plan(
    configurations=(configuration("t0007", 8), configuration("lora", 64), configuration("default")),
    folds=(1, 2),
    seeds=(1, 2),
    epochs=EPOCHS,
)


def finish(confirmation: Confirmation) -> list[tuple[str, int, int]]:
    """Run all that is left; returns (name, fold, seed) in order of asking."""
    order = []
    while (ask := confirmation.ask()) is not None:
        order.append((ask.origin.partition(":")[2], ask.fold, ask.seed))
        for epoch in range(1, EPOCHS + 1):
            confirmation.report(ask.trial_id, epoch, {"score/all": 0.5})
    return order


def test_every_configuration_runs_on_every_fold_with_every_seed_and_pairs_follow_one_another():
    confirmation = Confirmation()
    confirmation.begin(PLAN)
    order = finish(confirmation)

    assert order == [(c.name, fold, seed) for seed in (1, 2) for fold in (1, 2) for c in PLAN.configurations]
    assert confirmation.is_complete


def test_replaying_the_events_gives_the_same_state_and_asks_for_the_rest():
    entries: list[JournalEntry] = []

    def write(entry, *, apply):
        entries.append(as_read(replace(entry, seq=len(entries), time=1.0 + len(entries))))
        apply(entries[-1])
        return entries[-1]

    confirmation = Confirmation(on_entry=write)
    confirmation.begin(PLAN)
    first, second = confirmation.ask(), confirmation.ask()
    for epoch in (1, 2, 3):
        confirmation.report(first.trial_id, epoch, {"score/all": 0.5})
    confirmation.report(second.trial_id, 1, {"score/all": 0.6})
    again = Confirmation.replay(entries, on_entry=write)

    assert again.plan == PLAN
    assert [(a.trial_id, a.reported_epochs, a.fold, a.seed) for a in again.unfinished()] == [(second.trial_id, 1, 1, 1)]
    n_before = len(entries)
    again.begin(PLAN)
    assert len(entries) == n_before  # the same plan is not begun twice
    assert (again.n_ended, again.n_queued) == (1, 10)


def test_a_wider_plan_runs_only_what_was_not_run():
    confirmation = Confirmation()
    confirmation.begin(replace(PLAN, seeds=(1,)))
    finish(confirmation)
    confirmation.begin(replace(PLAN, folds=(1, 2, 3), seeds=(1,)))

    assert finish(confirmation) == [(c.name, 3, 1) for c in PLAN.configurations]


def test_a_run_is_no_longer_than_the_trial_was_in_the_search():
    confirmation = Confirmation()
    short, half = replace(PLAN.configurations[0], at_most=2), configuration("t0008", length=0.4)
    confirmation.begin(replace(PLAN, configurations=(short, half, *PLAN.configurations[1:]), seeds=(1,)))
    assert confirmation.n_epochs_left == 2 * (2 + 1 + EPOCHS + EPOCHS)
    finish(confirmation)

    trained = {(run.name, run.record.epoch, run.record.state) for run in confirmation.runs()}
    assert trained == {(name, n, "completed") for name, n in (("t0007", 2), ("t0008", 1), ("lora", 3), ("default", 3))}
    assert confirmation.n_epochs_left == 0


def test_a_run_that_failed_stays_failed_and_a_score_that_is_not_finite_fails_it():
    confirmation = Confirmation()
    confirmation.begin(PLAN)
    first, second = confirmation.ask(), confirmation.ask()
    confirmation.fail(first.trial_id, Failure(type="ValueError", message="broken"))
    verdict = confirmation.report(second.trial_id, 1, {"score/all": float("nan")})

    assert verdict.action == "stop"
    assert [run.record.state for run in confirmation.runs()] == ["failed", "failed"]
    assert confirmation.unfinished() == []


def test_what_was_cut_short_is_compared_on_whole_folds_alone():
    confirmation = Confirmation()
    confirmation.begin(PLAN)
    for _ in range(4):  # fold 1 of seed 1, and one run of fold 2
        ask = confirmation.ask()
        for epoch in (1, 2, 3):
            confirmation.report(ask.trial_id, epoch, {"score/all": 0.5})

    assert complete_cells(confirmation.runs(), PLAN) == ([1], [1])
    finish(confirmation)
    assert complete_cells(confirmation.runs(), PLAN) == ([1, 2], [1, 2])


def test_the_searchs_readers_pass_over_a_confirmation(confirmed_study):
    entries = read_entries(confirmed_study)
    alone = [entry for entry in entries if not isinstance(entry, Confirming)]
    assert len(alone) < len(entries)

    assert Standings.of(entries).best() == Standings.of(alone).best()
    assert Standings.of(entries).trials == Standings.of(alone).trials
    space = SearchSpace.from_dict(study_of(entries).header["space"])
    with_it, without = (Decisions.replay(space, e) for e in (entries, alone))
    assert with_it.trials() == without.trials()


@pytest.fixture
def world(confirmed_study: Path, tmp_path: Path):
    """Runs a planted confirmation on the real folds of a study: predictions are labels and noise, as told; without it
    a run fails, with NaN it diverges.
    """
    folder = tmp_path / "planted"
    shutil.copytree(confirmed_study / "data", folder / "data")
    header = read_plain(confirmed_study)[0]["header"]
    folds = tuple(sorted(int(path.name.partition("-")[2]) for path in (folder / "data").glob("fold-*")))

    def run(configurations: tuple[Configuration, ...], errors: dict[str, float | None], *, seed: int = 0):
        (folder / "checkpoints").mkdir(exist_ok=True)
        confirmation = Confirmation()
        confirmation.begin(Plan(configurations=configurations, folds=folds, seeds=(1,), epochs=EPOCHS))
        while (ask := confirmation.ask()) is not None:
            data = TrialData.load(fold_data_folder(folder / "data", ask.fold))
            scorer = HeldOutScorer(data.labels, data.event_ids, data.site_ids, data.split)
            rows = np.concatenate([data.split.id_, data.split.ood])
            scale = errors[ask.origin.partition(":")[2]]
            if scale is None:
                confirmation.fail(ask.trial_id, Failure(type="ValueError", message="broken"))
                continue
            if np.isnan(scale):
                confirmation.report(ask.trial_id, 1, {"score/all": scale})
                continue
            for epoch in range(1, EPOCHS + 1):
                rng = np.random.default_rng([seed, ask.number, epoch])
                noise = rng.normal(scale=scale, size=(len(rows), 3))
                predictions = (0.7 * data.labels[rows] + noise).astype(np.float32)
                save_predictions(folder / "checkpoints" / ask.trial_id, epoch, predictions)
                confirmation.report(ask.trial_id, epoch, scorer.score(predictions))
        return judge(folder, confirmation, search_fold=0, header=header)

    return run


def planted_plan(study: Path, *, best_score: float) -> Plan:
    """The plan of a search in which one trial scored so well, and the default 0.55."""
    header = read_plain(study)[0]["header"]
    space = SearchSpace.from_dict(header["space"])
    decisions = Decisions(space, {**header, "max_epochs": EPOCHS, "grace_epochs": EPOCHS})
    for score in (0.55, best_score):
        ask = decisions.ask()
        for epoch in range(1, EPOCHS + 1):
            decisions.report(ask.trial_id, epoch, {"score/all": score})
    options = SearchOptions(data="demo:120", epochs=EPOCHS, confirm_top=1, confirm_folds=2)
    return make_plan(space, decisions.trials(), study_data().specimens.frame, options)


def study_data():
    from tune.report.console import Console
    from tune.study.study_data import load_study_data

    options = SearchOptions(data="demo:120", workers=1)
    return load_study_data(options, options, Console(json=True))


def test_a_winner_by_luck_does_not_unseat_a_truly_better_default(confirmed_study, world):
    plan = planted_plan(confirmed_study, best_score=0.40)
    lucky = plan.configurations[0].name
    assert [c.name for c in plan.configurations] == [lucky, "default"]
    confirmed = world(plan.configurations, {lucky: 1.2, "default": 0.4}).confirmed

    assert (confirmed.winner, confirmed.is_win) == ("default", False)
    assert confirmed.verdict.startswith("no candidate beats the default beyond noise: keep the default")
    assert confirmed.candidates[0].name == confirmed.leader == "default"
    next_best = confirmed.candidates[1]
    assert f"the next, {next_best.name}, loses {next_best.difference.mean:.3f} [" in confirmed.verdict


def test_a_candidate_that_is_better_on_average_but_not_beyond_noise_leads_and_is_not_proven(confirmed_study, world):
    plan = planted_plan(confirmed_study, best_score=0.54)
    better = plan.configurations[0].name
    confirmed = world(plan.configurations, {better: 0.40, "default": 0.55}).confirmed

    assert (confirmed.winner, confirmed.is_win, confirmed.leader) == ("default", False, better)
    difference = confirmed.candidate(better).difference
    assert difference.mean < 0 < difference.high
    assert 0.5 < difference.p_better < (1 + difference.level) / 2
    assert f"{better} is leading, not proven: it gains {-difference.mean:.3f}" in confirmed.verdict
    assert f"better with probability {difference.p_better:.0%}" in confirmed.verdict
    assert Confirmed.from_dict(json.loads(json.dumps(confirmed.to_dict()))) == confirmed


@pytest.mark.parametrize(("errors", "n_worse"), [((3.0, 3.2), 2), ((0.2, 3.0), 1), ((0.2, 0.21), 0)])
def test_a_verdict_says_who_of_those_it_decides_between_is_not_better_than_the_best_floor(world, errors, n_worse):
    plan = (configuration("t0007", 8), configuration("default"))
    confirmed = world(plan, dict(zip(("t0007", "default"), errors, strict=True))).confirmed
    floor = min(of["score/all"] for of in confirmed.floors.values())
    decided = {confirmed.winner, confirmed.leader}
    worse = [c for c in confirmed.candidates if c.metrics["score/all"] >= floor and c.name in decided]
    *_, last = confirmed.verdict.split("; ")

    assert sum(c.metrics["score/all"] >= floor for c in confirmed.candidates) == n_worse
    assert ("not better than the floor" in last) == bool(worse)
    assert all(f"{c.name} ({c.metrics['score/all']:.3f})" in last for c in worse)


@pytest.mark.parametrize(
    ("names", "failing", "words"),
    [
        (("default",), (), "the search found nothing but the default, so nothing is compared: keep it, or search on"),
        (("a", "b", "default"), ("a", "b"), "all but the default failed in a run (a, b), so nothing is compared: keep"),
        (("a", "default"), ("default",), "the default failed in a run, so nothing is compared: a has the best mean"),
        (("a", "default"), ("default!",), "the default diverged in a run, as it would again, so nothing is compared:"),
        (("a", "b", "default"), ("a!", "b!"), "all but the default failed in a run (a, b), so nothing is compared:"),
    ],
)
def test_a_verdict_without_a_rival_says_what_happened_and_what_gives_one(world, names, failing, words):
    plan = tuple(configuration(name, rank) for name, rank in zip(names, (4, 8, 16), strict=False))
    diverged = tuple(name.strip("!") for name in failing if name.endswith("!"))
    failed = diverged or failing
    errors = dict.fromkeys(names, 0.4) | dict.fromkeys(failing) | dict.fromkeys(diverged, float("nan"))
    confirmed = world(plan, errors).confirmed

    assert confirmed.verdict.startswith(words)
    assert (confirmed.is_win, confirmed.failed, confirmed.diverged) == (False, failed, diverged)
    assert (TRIED_AGAIN in confirmed.verdict) == (len(failed) > len(diverged))
    assert Confirmed.from_dict(json.loads(json.dumps(confirmed.to_dict()))) == confirmed
    said = " ".join(confirmation_text(confirmed, beetles()).split())
    assert (f"so not compared: {', '.join(failed)}" in said) == bool(failed)


def test_a_verdict_of_before_without_a_leader_is_led_by_the_winner_or_else_by_the_best_mean(confirmed_study):
    confirmed = confirmed_of(read_entries(confirmed_study))
    values = {name: value for name, value in confirmed.to_dict().items() if name != "leader"}
    *_, last = confirmed.candidates
    for candidate in values["candidates"]:
        if candidate["difference"] is not None:
            del candidate["difference"]["p_better"]

    assert Confirmed.from_dict({**values, "winner": "default", "is_win": False}).leader == confirmed.candidates[0].name
    assert Confirmed.from_dict({**values, "winner": last.name, "is_win": True}).leader == last.name


def test_a_truly_better_candidate_unseats_the_default(confirmed_study, world):
    plan = planted_plan(confirmed_study, best_score=0.54)
    better = plan.configurations[0].name
    confirmed = world(plan.configurations, {better: 0.4, "default": 1.2}).confirmed

    assert (confirmed.winner, confirmed.is_win) == (better, True)
    assert confirmed.verdict.startswith(f"{better} beats default by 0.")


@pytest.mark.seconds
def test_equally_good_candidates_seldom_win_and_more_of_them_have_to_win_by_more(world):
    rivals = (configuration("a", 4), configuration("b", 8), configuration("c", 32), configuration("default"))
    errors = dict.fromkeys(("a", "b", "c", "default"), 0.8)
    judged = [world(rivals, errors, seed=seed).confirmed for seed in range(8)]

    assert sum(confirmed.is_win for confirmed in judged) <= 2
    assert judged[0].level == pytest.approx(1 - 0.1 / 3)  # three chances to be lucky


def test_a_fold_is_scored_at_the_epoch_that_the_other_folds_found_best(confirmed_study, tmp_path):
    """Two folds of opposite opinion: each scored at its own best epoch would look better than it is."""
    assert best_epoch([[0.5, 0.4, 0.6]]) == 2
    assert best_epoch([[0.5, 0.4, 0.6], [0.3, 0.6, 0.6]]) == 1
    folder = tmp_path / "planted"
    shutil.copytree(confirmed_study / "data", folder / "data")
    (first, second), confirmation = sorted(int(p.name[5:]) for p in (folder / "data").glob("fold-*")), Confirmation()
    confirmation.begin(Plan(configurations=(configuration("default"),), folds=(first, second), seeds=(1,), epochs=3))
    (folder / "checkpoints").mkdir(exist_ok=True)
    while (ask := confirmation.ask()) is not None:
        data = TrialData.load(fold_data_folder(folder / "data", ask.fold))
        labels = data.labels[np.concatenate([data.split.id_, data.split.ood])]
        scorer = HeldOutScorer(data.labels, data.event_ids, data.site_ids, data.split)
        for epoch in (1, 2, 3):
            predictions = labels * np.float32(1 - 0.3 * abs(epoch - (1 if ask.fold == first else 3)))
            save_predictions(folder / "checkpoints" / ask.trial_id, epoch, predictions)
            confirmation.report(ask.trial_id, epoch, scorer.score(predictions))
    judged = judge(folder, confirmation, search_fold=None, header=read_plain(confirmed_study)[0]["header"])

    part = judged.forecasts["default"].parts["ood"]
    assert set(part.folds.tolist()) == {first, second}
    rounded_twice = 2 * np.finfo(np.float32).eps
    np.testing.assert_allclose(part.mu[0], 0.4 * part.labels, rtol=rounded_twice)  # each at the other's, two epochs off


def test_the_plan_takes_the_best_that_are_unlike_one_another_and_folds_the_search_did_not_score_by(confirmed_study):
    entries = read_entries(confirmed_study)
    space = SearchSpace.from_dict(study_of(entries).header["space"])
    trials = Decisions.replay(space, entries).trials()
    frame = study_data().specimens.frame
    plan = make_plan(
        space, trials, frame, SearchOptions(data="demo:120", epochs=3, fold=2, confirm_folds=2, confirm_seeds=2)
    )

    assert plan.folds == (0, 4)  # which hold out most events that fold 2 does not
    assert plan.seeds == (1, 2)
    assert plan.configurations[-1].name == "default"
    assert len({json.dumps(c.config, sort_keys=True) for c in plan.configurations}) == len(plan.configurations)
    assert {c.at_most for c in plan.configurations} == {None}
    past = [
        replace(t, state="completed", scores={1: t.scores[1]}) if t.trial_id == plan.configurations[0].trial_id else t
        for t in trials
    ]
    options = SearchOptions(data="demo:120", epochs=3, fold=2, confirm_folds=2, confirm_seeds=2)
    assert make_plan(space, past, frame, options).configurations[0].at_most == 1
    assert make_plan(space, past, frame, options, earlier=plan) == plan  # whose runs may be there
    with pytest.raises(UserError, match="--confirm-folds <= 5"):
        make_plan(space, trials, frame, SearchOptions(data="demo:120", epochs=3, confirm_folds=6))
    with pytest.raises(UserError, match="must have a scored trial"):
        make_plan(space, [], frame, SearchOptions(data="demo:120", epochs=3))


def test_result_and_evidence_come_back_as_they_were_written(confirmed_study, tmp_path):
    confirmed = confirmed_of(read_entries(confirmed_study))
    assert confirmed == Confirmed.from_dict(json.loads(json.dumps(confirmed.to_dict())))
    (candidate, *_) = confirmed.candidates
    forecasts = out_of_fold_of(confirmed_study, confirmed, candidate)
    write_evidence(tmp_path, evidence(confirmed, candidate, forecasts))

    assert out_of_fold_of(tmp_path, confirmed, candidate).metrics() == forecasts.metrics()
    assert forecasts.metrics()["score/all"] == candidate.metrics["score/all"]
    with pytest.raises(UserError, match="of another one"):
        out_of_fold_of(tmp_path, replace(confirmed, seeds=(9,)), candidate)
    with pytest.raises(UserError, match="must hold the forecasts"):
        out_of_fold_of(tmp_path / "nothing", confirmed, candidate)


def test_the_table_is_within_120_columns_and_says_the_verdict(confirmed_study):
    confirmed = confirmed_of(read_entries(confirmed_study))
    text = confirmation_text(confirmed, beetles())

    assert max(map(len, text.splitlines())) <= 120
    assert " ".join(text.split()).endswith(" ".join(confirmed.verdict.split()))
    assert all(f"\n{candidate.name}" in text for candidate in confirmed.candidates)
    (ensemble,) = (line for line in text.splitlines() if line.startswith("ensemble ") and "[" in line)
    assert "gain on default, interval of" in text
    assert ensemble.endswith("] 90%")
    assert f"\nasked first: {confirmed.asked_first}; others win only where it does\n" in text
