"""The best of a study and the default, on the same folds and seeds: a decision instead of a leaderboard.

The last part of `sentinel-tune search`, and all of `sentinel-tune confirm`.
"""

from trainable.counts import counted
from tune.confirming.choice import make_plan, thin_evidence
from tune.confirming.outcome import Confirmed, confirmed_of, evidence, write_evidence
from tune.confirming.planned_runs import Plan
from tune.confirming.runs import Confirmation, fold_data_folder
from tune.decisions.ends import Ends
from tune.execution.conductor import Conductor
from tune.execution.lost_predictions import runs_without_predictions, train_anew
from tune.execution.workplace import Workplace
from tune.printed.next_command import next_command
from tune.report.next_steps import of_session
from tune.study.study import written_or_told
from tune.study.study_data import warn_of_shared, write_trial_data


def confirm(place: Workplace, *, deadline: float | None) -> Conductor:
    """Confirm the study's best trials, or go on with it; the verdict is journaled, also of what was done in time.

    deadline: unix seconds.
    Raises: UserError when no trial has a score, or the data have no such folds.
    """
    study, options = place.study, place.request.options
    confirmation = Confirmation.replay(study.entries(), on_entry=study.journal.append)
    plan = make_plan(
        place.request.space, study.decisions.trials(), place.data.specimens.frame, options, confirmation.plan
    )
    if (fewer := _fewer_than_before(confirmed_of(study.entries()), plan)) is not None:
        place.console.say(fewer)
    confirmation.begin(plan)
    _try_again(place, confirmation)
    names = ", ".join(configuration.name for configuration in plan.configurations)
    place.console.say(
        f"confirming {names}: {counted(len(plan.folds), 'fold')}, {counted(len(plan.seeds), 'seed')}, "
        f"{counted(confirmation.n_wanted, 'run')} of at most {counted(plan.epochs, 'epoch')}"
    )
    if (thin := thin_evidence(place.data.specimens.frame, options, is_begun=True)) is not None:
        place.console.say(thin)
    conductor = place.conductor(confirmation, Ends(deadline=deadline))
    if not confirmation.is_complete:
        place.run(conductor, prepare=lambda: _write_folds(place, plan))
        conductor.pause_all(conductor.end_reason)
    if conductor.state == "completed" and (lacking := runs_without_predictions(study.folder, confirmation)):
        again = train_anew(place, lacking, Ends(deadline=deadline))
        conductor = conductor if again.state == "completed" else again
    if conductor.error is None:
        _conclude(place, confirmation)
    return conductor


def _fewer_than_before(earlier: Confirmed | None, plan: Plan) -> str | None:
    """A warning where an earlier verdict rests on more; None where none does."""
    if earlier is None or len(earlier.folds) * len(earlier.seeds) <= len(plan.folds) * len(plan.seeds):
        return None
    of_each, of_plan = (
        f"{counted(len(of.folds), 'fold')} x {counted(len(of.seeds), 'seed')}" for of in (earlier, plan)
    )
    return f"warning: the verdict so far rests on {of_each}, the next will on {of_plan} alone; the last one counts"


def _try_again(place: Workplace, confirmation: Confirmation) -> None:
    """Runs that failed in an earlier session, whose cause may be mended; that diverge again is known beforehand."""
    if failed := confirmation.ask_again():
        place.console.say(f"tried again, since they failed before: {', '.join(map(str, failed))}")
    if diverged := [run for run in confirmation.runs() if run.has_diverged]:
        place.console.say(f"not tried again, since they diverged and would again: {', '.join(map(str, diverged))}")


def _write_folds(place: Workplace, plan: Plan) -> None:
    for fold in plan.folds:
        held_out = place.data.of_fold(fold, holdout=place.request.options.holdout)
        if fold != place.request.options.fold:  # of which it was said when the data were loaded
            warn_of_shared(held_out.specimens, held_out.split, place.console)
        write_trial_data(held_out, place.features, fold_data_folder(place.study.folder / "data", fold))


def _conclude(place: Workplace, confirmation: Confirmation) -> Confirmed | None:
    """Judge what is there; nothing is written that the journal holds already."""
    from tune.confirming.verdict import judge  # loads scipy

    study, options = place.study, place.request.options
    try:
        judged = judge(study.folder, confirmation, search_fold=options.fold, header=study.header, local=options.local)
    except ValueError as error:
        command = next_command("confirm", study.folder, **of_session(options))
        place.console.say(f"no verdict yet: {error}; go on with `{command}`")
        return None
    confirmed = judged.confirmed
    with written_or_told(study.folder):
        for candidate in confirmed.candidates:
            write_evidence(study.folder, evidence(confirmed, candidate, judged.forecasts[candidate.name]))
    if not confirmation.is_complete:
        n_left = confirmation.n_wanted - confirmation.n_ended
        place.console.say(f"the verdict rests on the whole runs so far; {n_left} are still to be done")
    confirmation.conclude(confirmed.to_dict())
    return confirmed
