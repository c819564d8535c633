"""A plan in one line, for a search that begins: what follows from its options alone, without measuring anything."""

from trainable.counts import counted
from tune.cluster.placement import Placement
from tune.confirming.choice import n_runs_reserved
from tune.planning.forecast import Rules
from tune.planning.trials_ahead import Seconds, foresee, trials_ahead
from tune.study.search_request import SearchRequest
from tune.study.study_data import StudyData


def summary(request: SearchRequest, data: StudyData, placement: Placement | None) -> str:
    """Trials, how many run side by side, epochs under ASHA and of the confirmation."""
    options, slots, ahead = request.options, 1, trials_ahead(request)
    confirming = 0 if options.no_confirm else n_runs_reserved(data.specimens.frame, options) * options.epochs
    then = f", then at most {counted(confirming, 'epoch')} of confirmation" if confirming else ""
    if not ahead.n:
        return f"plan: all trials have ended{then}"
    if placement is not None:
        from tune.cluster.ray_cluster import Cluster  # loads ray

        slots = placement.slots(Cluster().nodes())
        slots = max(1, min(slots, placement.max_concurrent or slots))
    rules = Rules(
        max_epochs=options.epochs, grace_epochs=options.grace, reduction_factor=options.reduction_factor,
        patience=options.patience_epochs, slots=slots,
    )  # fmt: skip
    alike = Seconds(epoch=lambda _: 1.0, build=lambda _: 0.0, quickest=1.0, slowest=1.0)
    epochs = foresee(ahead, request, rules, alike, seed=options.seed).epochs
    in_full = f", {ahead.n_in_full} of them in full" if ahead.n_in_full else ""
    return (
        f"plan: {counted(ahead.n, 'trial')}{in_full}, {slots} side by side: about {epochs.expected:.0f} of "
        f"{counted(ahead.most_epochs(options.epochs), 'epoch')} under ASHA{then}; `sentinel-tune plan` with "
        "the same options measures time and memory"
    )
