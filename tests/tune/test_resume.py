"""`search --resume`: what holds, what may change, what is refused, and what a killed process left half done."""

import json
import os
import shutil
from pathlib import Path

import pytest
import yaml
from safetensors.torch import save_file

from search_spaces.space import SearchSpace
from tests.tune.plain_entries import make_entry, read_plain
from trainable.allowance import usable_cpus
from trainable.errors import UserError
from trainable.frozen.backbone import load_backbone
from tune.cli import _make_parser
from tune.command_line.options import SearchOptions
from tune.command_line.parsing import given_options
from tune.decisions.differences import differences
from tune.journal.journal import Journal, read_entries
from tune.study.search_request import SearchRequest, search_request

N_TRIALS, EPOCHS = 5, 3  # of `finished_study`


@pytest.fixture
def study(finished_study: Path, tmp_path: Path) -> Path:
    """A copy of a finished study, free to be changed."""
    return Path(shutil.copytree(finished_study, tmp_path / "beetles"))


def ask(*argv: object) -> SearchRequest:
    """What `search ARGV` asks for; nothing is run."""
    arguments, _ = _make_parser().parse_known_args(["search", *map(str, argv)])
    return search_request(given_options(arguments, SearchOptions))


def problems_of(*argv: object) -> list[str]:
    with pytest.raises(UserError) as refused:
        ask(*argv)
    return list(refused.value.problems)


def rewrite(study: Path, change) -> list[dict]:
    """Replace the journal by what `change` makes of its entries."""
    entries = change(read_plain(study))
    lines = [json.dumps({**entry, "seq": number}) + "\n" for number, entry in enumerate(entries)]
    (study / "journal.jsonl").write_text("".join(lines))
    return entries


def results(study: Path) -> dict[tuple[str, int], float]:
    reports = [entry for entry in read_plain(study) if entry["event"] == "report"]
    found = {(entry["trial"], entry["epoch"]): entry["metrics"]["score/all"] for entry in reports}
    assert len(found) == len(reports), "an epoch was reported twice"
    return found


def nothing_given(entries: list[dict]) -> list[dict]:
    first, floors, session, *others = entries
    return [with_header(first, given=[]), floors, {**session, "given": {}}, *others]


def with_header(first: dict, **changed: object) -> dict:
    return {**first, "header": {**first["header"], **changed}}


# What holds


@pytest.mark.seconds
def test_what_was_given_holds_and_what_was_not_takes_todays_default(study):
    options = ask("--resume", study).options

    assert (options.data, options.epochs, options.trials, options.workers) == ("demo:120", EPOCHS, N_TRIALS, 1)
    assert options.max_concurrent is None
    assert options.local is False  # how one process works is for each to say
    rewrite(study, nothing_given)
    again = ask("--resume", study).options
    assert again.workers == usable_cpus()
    assert (again.data, again.epochs, again.trials) == ("demo:120", EPOCHS, N_TRIALS)


def test_what_is_safe_may_be_named_anew_and_holds_from_then_on(study):
    request = ask("--resume", study, "--trials", 9, "--time-budget", "2h", "--max-concurrent", 1, "--workers", 3)
    assert (request.options.trials, request.options.time_budget, request.options.workers) == (9, 7200.0, 3)
    with Journal.open(study, say=print) as journal:
        journal.append(make_entry("session", n_trials=9, given=dict(request.given), queue=[]))

    options = ask("--resume", study).options
    assert (options.trials, options.time_budget, options.workers, options.max_concurrent) == (9, 7200.0, 3, 1)


def test_what_makes_results_incomparable_is_refused_all_at_once(study):
    problems = problems_of("--resume", study, "--epochs", 9, "--fold", 1, "--seed", 3, "--no-variants", "--trials", 9)

    assert [problem.split(" must")[0] for problem in problems] == [
        "`--epochs`",
        "`--fold`",
        "`--seed`",
        "`--no-variants`",
    ]
    assert "must stay 3 in the study" in problems[0]
    assert ask("--resume", study, "--epochs", EPOCHS, "--seed", 0).options.epochs == EPOCHS  # said again, not changed


@pytest.mark.seconds
def test_which_specimens_are_left_out_stays_what_it_was(study):
    for option in ("--drop-duplicates", "--skip-bad-images"):
        (problem,) = problems_of("--resume", study, option)
        assert problem.startswith(f"`{option}` must stay off in the study")
    assert not ask("--resume", study).options.drop_duplicates


@pytest.mark.seconds
def test_a_study_keeps_what_auto_came_to_when_it_began(study):
    assert read_plain(study)[2]["precision"] == "float32"  # of its session, on this device
    (problem,) = problems_of("--resume", study, "--precision", "bfloat16")
    assert "`--precision` must stay float32 in the study" in problem
    again = ask("--resume", study, "--precision", "auto")
    assert (again.options.precision, again.given) == ("float32", {})

    rewrite(study, begun_on_cuda)
    assert ask("--resume", study).options.precision == "bfloat16"
    assert ask("--resume", study, "--precision", "auto").options.precision == "bfloat16"
    rewrite(study, without_precision)
    assert ask("--resume", study).options.precision == "auto"  # of a journal that does not say


def begun_on_cuda(entries: list[dict]) -> list[dict]:
    options = entries[0]["header"]["options"] | {"precision": "bfloat16"}
    return [with_header(entries[0], options=options), *entries[1:]]


def without_precision(entries: list[dict]) -> list[dict]:
    options = {name: value for name, value in entries[0]["header"]["options"].items() if name != "precision"}
    return [with_header(entries[0], options=options), *entries[1:]]


def test_a_config_file_changes_nothing_unasked(study, tmp_path):
    config = tmp_path / "search.yaml"
    config.write_text("data: demo:120\nepochs: 3\ntrials: 40\nworkers: 2\nlocal: true\n")
    problems = problems_of("--resume", study, "--config", config)

    assert len(problems) == 2
    assert problems[0].startswith("`trials` was 5 in the study and is 40 in the --config file")
    assert "--accept-change" in problems[1]
    assert ask("--resume", study, "--config", config, "--accept-change").options.trials == 40
    assert ask("--resume", study, "--config", config, "--trials", 7, "--workers", 1).options.trials == 7
    config.write_text("epochs: 4\n")
    assert "must stay 3" in problems_of("--resume", study, "--config", config, "--accept-change")[0]


@pytest.mark.parametrize("verb", ["search", "plan"])
def test_fewer_trials_than_were_begun_are_refused_before_anything_is_done(study, cli, verb):
    before = (study / "journal.jsonl").read_bytes()
    ended = cli(verb, "--resume", study, "--local", "--trials", N_TRIALS - 1)

    assert (ended.status, ended.stdout) == (2, "")
    assert ended.stderr == (
        f"error: `--trials` must be at least 5, the trials that were begun in the study {study}, but got 4; give more "
        f"than 5 to search on, or leave the search as it is and `sentinel-tune confirm {study} --local`\n"
    )
    assert (study / "journal.jsonl").read_bytes() == before


def test_trials_that_a_user_enqueued_do_not_count_among_those_of_trials(study):
    def last_was_enqueued(entries: list[dict]) -> list[dict]:
        asked = [entry for entry in entries if entry["event"] == "ask"][-1]
        at = entries.index(asked)
        enqueued = {"v": asked["v"], "event": "enqueue", "time": asked["time"], "request": "a"}
        enqueued["values"] = asked["values"]
        return [*entries[:at], enqueued, {**asked, "origin": "enqueued"}, *entries[at + 1 :]]

    rewrite(study, last_was_enqueued)
    assert ask("--resume", study, "--trials", N_TRIALS - 1).options.trials == N_TRIALS - 1
    assert "`--trials` must be at least 4" in problems_of("--resume", study, "--trials", N_TRIALS - 2)[0]


def test_another_folder_than_the_resumed_one_is_refused(study, tmp_path):
    assert "`--study` must be left out" in problems_of("--resume", study, "--study", tmp_path / "other")[0]
    assert ask("--resume", study, "--study", study).folder == study


def test_a_second_process_is_refused_with_the_owner_before_any_work(study, cli):
    with Journal.open(study, say=print):
        ended = cli("search", "--resume", study, "--local", "--trials", 9)

    assert ended.status == 2
    assert f"process {os.getpid()} on " in ended.stderr
    assert "specimens" not in ended.stderr


def test_the_space_is_the_studys_own_when_its_file_is_gone_and_a_change_of_it_is_shown(study, tmp_path):
    own = tmp_path / "own.yaml"
    text = (Path(__file__).parents[2] / "search_spaces" / "smoke.yaml").read_text()
    options = {**read_plain(study)[0]["header"]["options"], "space": str(own)}
    rewrite(study, lambda entries: [with_header(entries[0], options=options), *entries[1:]])
    then = SearchSpace.load("smoke").to_dict()

    assert ask("--resume", study).space.to_dict() == then
    own.write_text(text.replace("int: [2, 16]", "int: [2, 32]"))
    problems = problems_of("--resume", study)
    assert "`parameters.adapter.rank.int`: [2, 16], [2, 32] (in the study, now)" in problems
    assert ask("--resume", study, "--accept-change").space.to_dict() == then
    assert "differs now" in problems_of("--resume", study, "--space", own, "--accept-change")[0]
    own.write_text(text.replace("small and fast", "fast and small"))
    assert ask("--resume", study, "--space", own).space.to_dict() == then  # words are no change


def test_a_changed_backbone_is_refused_before_the_extraction(study, cli):
    rewrite(study, lambda entries: [with_header(entries[0], backbone_fingerprint="another"), *entries[1:]])
    ended = cli("search", "--resume", study, "--local", "--trials", 6)

    assert ended.status == 2
    assert "the backbone fingerprint was another and is " in ended.stderr
    assert "features" not in ended.stderr


def test_a_backbone_that_makes_other_features_of_the_same_weights_is_refused_before_the_extraction(
    study, cli, tmp_path
):
    """Such as one whose configuration was edited or damaged."""
    tiny, folder = load_backbone("tiny"), tmp_path / "model"
    folder.mkdir()
    save_file({f"visual.{k}": v for k, v in tiny.visual.state_dict().items()}, folder / "open_clip_model.safetensors")
    config = {"model_cfg": tiny.model_cfg, "preprocess_cfg": {"mean": [0.5, 0.5, 0.5]}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    before = read_plain(study)[0]["header"]
    options = {**before["options"], "backbone": f"local-dir:{folder}"}
    rewrite(study, lambda entries: [with_header(entries[0], options=options), *entries[1:]])
    ended = cli("search", "--resume", study, "--local", "--trials", 6)

    assert ended.status == 2
    assert f"its features were {before['features_key']} and would be " in ended.stderr
    assert f"the configuration of local-dir:{folder} has changed" in ended.stderr
    assert "extract" not in ended.stderr


# Going on


def test_a_finished_study_says_so_and_its_journal_stays_as_it_is(study, cli):
    before = (study / "journal.jsonl").read_bytes()
    ended = cli("search", "--resume", study, "--local")

    assert ended.status == 0
    assert "all its 5 trials have ended" in ended.stderr
    assert "Best trial" in ended.stdout
    assert f"--resume {study} --trials 10" in ended.stdout
    assert (study / "journal.jsonl").read_bytes() == before


@pytest.mark.seconds
def test_a_killed_beginning_is_made_up_for(study, cli):
    finished = results(study)
    entries = rewrite(study, lambda entries: entries[:1])
    shutil.rmtree(study / "data")
    shutil.rmtree(study / "checkpoints")
    (study / "study.yaml").unlink()
    ended = cli("search", "--resume", study, "--local")

    assert ended.status == 0
    assert [entry["event"] for entry in read_plain(study)[:3]] == ["study", "floors", "session"]
    assert yaml.safe_load((study / "study.yaml").read_text()) == entries[0]["header"]
    assert results(study) == finished


@pytest.mark.seconds
def test_a_torn_line_and_truncated_checkpoints_cost_no_result_and_are_told(study, cli):
    finished = results(study)
    last = max(epoch for trial, epoch in finished if trial == "t0001")
    assert last == EPOCHS

    def cut(entries: list[dict]) -> list[dict]:
        told = [n for n, entry in enumerate(entries) if entry["event"] == "report" and entry["trial"] == "t0001"]
        return entries[: told[1] + 1]  # t0001 has reported its second epoch

    rewrite(study, cut)
    with (study / "journal.jsonl").open("a") as journal:
        journal.write('{"v":1,"seq":')
    for trial in ("t0002", "t0003", "t0004"):
        shutil.rmtree(study / "checkpoints" / trial)
    *earlier, last_one = sorted((study / "checkpoints" / "t0001").glob("epoch-*"))
    assert last_one.name == f"epoch-{EPOCHS:06d}.safetensors"
    last_one.unlink()
    for damaged in earlier:
        damaged.write_bytes(damaged.read_bytes()[:1000])
    ended = cli("search", "--resume", study, "--local", "--json")

    assert (ended.status, ended.result["n_trials"]) == (0, N_TRIALS)
    assert "cut off a torn last line" in ended.stderr
    assert "t0001: passed over a damaged checkpoint" in ended.stderr
    assert results(study) == finished
    assert differences(SearchSpace.load("smoke"), read_entries(study)) == []


@pytest.mark.seconds
def test_moved_data_and_a_new_cache_are_found_by_their_content(study, cli, demo_cache, tmp_path):
    (shards,) = {path.parent.parent for path in demo_cache.glob("demo-*-120-*/**/*.parquet")}
    moved = Path(shutil.copytree(shards, tmp_path / "moved"))
    key = read_plain(study)[0]["header"]["data_fingerprint"]
    ended = cli("search", "--resume", study, "--local", "--trials", 6, "--data", moved, "--cache", tmp_path / "cache")

    assert ended.status == 0, ended.stderr
    assert "extracted 120 images" in ended.stderr
    (store,) = [path.name for path in (tmp_path / "cache" / "features").iterdir() if path.is_dir()]
    assert (demo_cache / "features" / store).is_dir()
    options = ask("--resume", study).options
    assert (options.data, options.cache, options.trials) == (str(moved), tmp_path / "cache", 6)
    assert read_plain(study)[0]["header"]["data_fingerprint"] == key
