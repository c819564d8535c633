"""`--warm-start`: what a new study takes over from earlier ones, which are decided by hand, without training."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from search_spaces.space import SearchSpace
from tests.tune.plain_entries import entries_of, read_plain
from trainable.errors import UserError
from tune.cli import _make_parser
from tune.command_line.options import SearchOptions
from tune.command_line.parsing import given_options
from tune.decisions.decisions import Decisions
from tune.decisions.differences import differences
from tune.decisions.diversity import MIN_DISTANCE, distance
from tune.decisions.proposals import starting_queue
from tune.decisions.standings import Standings
from tune.decisions.warm_start import N_BEST, warm_start
from tune.journal.journal import Journal, read_entries

EPOCHS = 2
SPACE = SearchSpace.load("smoke")


def make_header(space: SearchSpace = SPACE, **changed: object) -> dict[str, Any]:
    return {
        "seed": 0, "n_trials": 14, "max_epochs": EPOCHS, "grace_epochs": 1, "reduction_factor": 3,
        "queue": starting_queue(space, EPOCHS), "space": space.to_dict(), "data_fingerprint": "d",
        "backbone_fingerprint": "b", "held_out_sites": ["SITE"], "held_out_domains": [3], **changed,
    }  # fmt: skip


def make_study(
    folder: Path, score: Callable[[Mapping[str, Any]], float], space: SearchSpace = SPACE, **header: object
) -> Path:
    """A finished study whose trials score by their sampled values."""
    made = make_header(space, **header)
    with Journal.create(folder, made, study_id=folder.name) as journal:
        decisions = Decisions(space, made, on_entry=journal.append)
        while (ask := decisions.ask()) is not None:
            for epoch in range(1, EPOCHS + 1):
                value = score(ask.values or {"optim.lr": 1.0}) + 0.01 / epoch
                if decisions.report(ask.trial_id, epoch, {"score/all": value}).action == "stop":
                    break
    return folder


def by_rate(values: Mapping[str, Any]) -> float:
    return float(values["optim.lr"])


def origins(gained: Mapping[str, Any]) -> list[str]:
    return [entry["origin"] for entry in gained["queue"]]


def test_the_best_that_differ_are_run_first_and_the_rest_is_told_to_the_sampler(tmp_path):
    earlier, lines = make_study(tmp_path / "earlier", by_rate), []
    header = make_header()
    gained = warm_start([earlier], SPACE, header, lines.append)
    decisions = Decisions(SPACE, header | gained)
    records = Standings.of(read_entries(earlier)).trials

    taken = gained["queue"][2:]
    assert origins(gained)[:2] == ["start:default", "compare:ft_did"]
    assert len(taken) == N_BEST
    assert all(origin.startswith("warm:earlier/t") for origin in origins(gained)[2:])
    for a in taken:
        assert all(a is b or distance(SPACE, a["values"], b["values"]) >= MIN_DISTANCE for b in taken)
    ranked = sorted((r for r in records.values() if r.values), key=lambda r: r.best_score)
    assert taken[0]["origin"] == f"warm:earlier/{ranked[0].trial_id}"
    told = decisions.sampler_trials()
    assert len(told) == 13 - N_BEST  # all but the comparison and what is run again
    assert {trial.state for trial in told} <= {TrialState.COMPLETE, TrialState.PRUNED}
    assert lines == [
        f"warm start from earlier: configurations run first: {N_BEST}, results told to the sampler: {len(told)}"
    ]


@pytest.mark.seconds
def test_the_header_holds_all_so_replay_needs_no_other_folder(tmp_path):
    earlier = make_study(tmp_path / "earlier", by_rate)
    gained = warm_start([earlier], SPACE, make_header(), print)
    shutil.rmtree(earlier)
    later = make_study(tmp_path / "later", by_rate, **gained)

    entries = read_plain(later)
    assert [entry["origin"] for entry in entries if entry["event"] == "ask"][2:5] == origins(gained)[2:]
    assert differences(SPACE, entries_of(entries)) == []
    assert entries[0]["header"]["warm_started_from"] == ["earlier"]


@pytest.mark.seconds
@pytest.mark.parametrize(
    "changed",
    [{"data_fingerprint": "x"}, {"held_out_sites": ["OTHER"]}, {"backbone_fingerprint": "x"}, {"max_epochs": 9}],
)
def test_where_scores_do_not_compare_only_the_configurations_are_taken_and_it_is_said(tmp_path, changed):
    earlier, lines = make_study(tmp_path / "earlier", by_rate), []
    gained = warm_start([earlier], SPACE, make_header() | changed, lines.append)

    assert len(gained["queue"]) == 2 + N_BEST
    assert gained["warm_start"] == []
    assert f"other {next(iter(changed)).replace('_', ' ')}" in lines[-1]


def test_what_lies_outside_of_the_space_is_named_and_passed_over(tmp_path):
    narrow = SPACE.to_dict()
    narrow["parameters"]["optim.lr"]["float"] = [2.0e-4, 1.0e-3]
    earlier, lines = make_study(tmp_path / "earlier", by_rate), []
    space = SearchSpace.from_dict(narrow)
    gained = warm_start([earlier], space, make_header(space), lines.append)

    outside = [
        r for r in Standings.of(read_entries(earlier)).trials.values() if r.values and r.values["optim.lr"] < 2e-4
    ]
    assert outside
    for record in outside:
        assert any(f"{record.trial_id} lies outside of this space: `optim.lr`" in line for line in lines)
    assert all(entry["values"]["optim.lr"] >= 2e-4 for entry in [*gained["queue"][2:], *gained["warm_start"]])
    assert not any("tail.head_dropout" in line for line in lines)  # ft_did is compared with here as well


def test_several_studies_give_their_best_each_and_none_twice(tmp_path):
    first = make_study(tmp_path / "first", by_rate)
    second = make_study(tmp_path / "second", lambda values: 1 - by_rate(values), seed=5)
    gained = warm_start([first, second, first], SPACE, make_header(), print)

    names = [origin.partition("/")[0] for origin in origins(gained)[2:]]
    assert names == ["warm:first"] * N_BEST + ["warm:second"] * N_BEST
    configs = [repr(SPACE.config(entry["values"], EPOCHS)) for entry in gained["queue"] if "values" in entry]
    assert len(set(configs)) == len(configs)


def test_failed_and_noise_trials_are_no_starting_points(tmp_path):
    earlier = make_study(
        tmp_path / "earlier", lambda values: float("nan") if by_rate(values) < 3e-4 else by_rate(values)
    )
    gained = warm_start([earlier], SPACE, make_header(), print)

    assert all(entry["values"]["optim.lr"] >= 3e-4 for entry in [*gained["queue"][2:], *gained["warm_start"]])


def test_every_folder_without_a_study_is_named(tmp_path):
    with pytest.raises(UserError) as refused:
        warm_start([tmp_path / "one", tmp_path / "two"], SPACE, make_header(), print)

    assert [
        str(tmp_path / name) in problem for name, problem in zip(("one", "two"), refused.value.problems, strict=True)
    ]
    assert len(refused.value.problems) == 2


def test_studies_are_given_side_by_side_with_commas_repeated_or_in_yaml(tmp_path):
    config = tmp_path / "search.yaml"
    config.write_text("warm_start: [a, b, c]\n")

    def parsed(*argv: str) -> tuple[Path, ...]:
        arguments, _ = _make_parser().parse_known_args(["search", *argv])
        return given_options(arguments, SearchOptions).options().warm_start

    wanted = (Path("a"), Path("b"), Path("c"))
    assert parsed("--warm-start", "a", "b", "c") == wanted
    assert parsed("--warm-start", "a,b", "--warm-start", "c", "--local") == wanted
    assert parsed("--config", str(config)) == wanted
    assert parsed() == ()


@pytest.mark.slow
def test_a_search_begins_with_what_an_earlier_one_found(demo_search, finished_study, cli, tmp_path):
    earlier = shutil.copytree(finished_study, tmp_path / "earlier")
    ended = demo_search("--warm-start", earlier, "--epochs", 3, "--trials", 5)
    shutil.rmtree(earlier)

    assert ended.status == 0, ended.stderr
    entries = read_plain(tmp_path / "study")
    assert [entry["origin"].partition(":")[0] for entry in entries if entry["event"] == "ask"][2] == "warm"
    assert entries[0]["header"]["warm_start"]
    assert differences(SPACE, entries_of(entries)) == []
    assert cli("search", "--resume", tmp_path / "study", "--local", "--trials", 6).status == 0
