"""All trials of a study as a table, however it stands and however many there are."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from tests.tune.made_study import EPOCHS, made_study, write_study
from trainable.config import TrialConfig
from tune.decisions.standings import Standings
from tune.journal.entries import TrialAsked
from tune.journal.journal import read_entries
from tune.report.trial_table import trial_table, trial_text


def test_every_trial_is_a_line_with_what_it_is_how_it_stands_its_scores_and_what_varies(cli, finished_study):
    lines = cli("trials", finished_study).stdout.splitlines()
    standings = Standings.of(read_entries(finished_study))

    assert lines[0].split() == [
        "trial", "name", "status", "rung", "epochs", "score", "score_id", "score_ood", "best_epoch", "n_blocks",
        "adapter", "rank", "lr", "feature_noise", "seconds",
    ]  # fmt: skip
    assert [line.split()[0] for line in lines[1:-1]] == list(standings.trials)
    assert [line.split()[1] for line in lines[1:3]] == ["default", "ft_did"]
    best = standings.best()
    shown = next(line for line in lines if line.startswith(best.trial_id)).split()
    assert f"{best.best_score:.4f}" in shown
    assert lines[-1] == "5 trials"


def test_a_csv_file_has_the_numbers_exactly_and_nothing_where_there_is_nothing(cli, finished_study, tmp_path):
    file = tmp_path / "trials.csv"
    result = cli("trials", finished_study, "--csv", file, "--json").result

    rows = rows_of(file)
    assert result["csv"] == str(file)
    assert cli("trials", finished_study, "--csv", file).stdout.endswith(f"\nwrote {file}\n")
    assert [float(row["score"]) for row in rows] == [trial["score"] for trial in result["trials"]]
    assert {row["rank"] for row, trial in zip(rows, result["trials"], strict=True) if trial["adapter"] == "full"} == {
        ""
    }


def test_a_file_that_cannot_be_written_is_told_before_the_study_is_read(cli, tmp_path):
    outcome = cli("trials", tmp_path / "none", "--csv", tmp_path)
    assert outcome.status == 2
    assert "`--csv` must be a file" in outcome.stderr


@pytest.mark.parametrize(("n", "status"), [(0, None), (4, "interrupted")])
def test_a_study_that_is_empty_or_was_cut_off_is_listed_too(cli, tmp_path, n, status):
    study = write_study(tmp_path / "study", made_study(n, ends=False))
    result = cli("trials", study, "--json").result
    assert len(result["trials"]) == n
    assert cli("trials", study).stdout.endswith(f"{n} trials\n")
    assert n == 0 or result["trials"][-1]["status"] == status


@pytest.mark.seconds
def test_three_thousand_trials_are_three_thousand_lines():
    table = trial_table(Standings.of(made_study(3000)), is_running=False)
    lines = trial_text(table).splitlines()

    assert len(lines) == 3002
    assert {row["status"] for row in table.to_dicts()} == {"completed", "pruned", "failed"}
    assert {row["seconds"] for row in table.to_dicts() if row["epochs"] == EPOCHS} == {2.0 * EPOCHS}


def test_no_two_columns_of_the_largest_space_have_one_name():
    columns = trial_table(Standings.of(made_study(1, space="full")), is_running=False).columns
    assert len(columns) > 20
    assert len(set(columns)) == len(columns)


def test_a_comparison_shows_what_its_configuration_says_also_where_that_is_left_out_as_off():
    default = TrialConfig(epochs=EPOCHS).with_values({"tail.head_dropout": 0.25}).to_dict()
    entries = made_study(1, space="full")
    at = next(i for i, entry in enumerate(entries) if isinstance(entry, TrialAsked))
    entries[at] = replace(entries[at], origin="variant:default", values=None, config=default)
    (row,) = trial_table(Standings.of(entries), is_running=False).to_dicts()

    assert "head" not in default["tail"]
    assert (row["head"], row["probe_first"], row["average"], row["head_dropout"]) == ("mlp", False, "none", 0.25)
    assert row["average_fraction"] is None  # it averages nothing


def test_names_of_a_spreadsheet_hold_no_formula(cli, tmp_path):
    entries = [
        replace(entry, origin="start:=SUM(A1)") if isinstance(entry, TrialAsked) and entry.number == 1 else entry
        for entry in made_study(2)
    ]
    file = tmp_path / "trials.csv"
    cli("trials", write_study(tmp_path / "study", entries), "--csv", file)
    assert rows_of(file)[1]["name"] == "'=SUM(A1)"


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


def test_what_is_no_table_of_trials_is_not_replaced_by_one(cli, tmp_path):
    study = write_study(tmp_path / "made", made_study(3))
    for name, words in (
        ("journal.jsonl", ("trials", study, "--csv")),
        ("journal.jsonl", ("report", study, "--output")),
    ):
        before = (study / name).read_bytes()
        ended = cli(*words, study / name)
        assert (ended.status, "must be a new file, or one that this command wrote" in ended.stderr) == (2, True)
        assert (study / name).read_bytes() == before
    for _ in range(2):
        assert cli("trials", study, "--csv", tmp_path / "trials.csv").status == 0
        assert cli("report", study, "--output", tmp_path / "report.html").status == 0
