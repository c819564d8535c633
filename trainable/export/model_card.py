"""The card of an exported model, `README.md`: what it is, how it was trained, how good it is, what it cannot do."""

import shlex
from collections.abc import Iterator, Mapping, Sequence

from trainable.config import TrialConfig, n_epochs_of
from trainable.counts import counted
from trainable.data.task import Task, beetles
from trainable.data.task_words import PART_NAMES, SHARED_OF, loss_name, parts_of, score_keys
from trainable.export.facts import MemberFacts, ModelFacts
from trainable.plain_values import JsonObject
from trainable.scoring.best_floor import best_floor
from trainable.scoring.metrics import SCORE
from trainable.shown import shown
from trainable.training.number_units import MOST_SDS, SD_OF_NONE, NumberUnits

_GROUPS = (("CRPS", "crps"), ("R2", "r2"), ("MAE", "mae"))
_CLASS_GROUPS = (("Log loss", "log_loss"), ("Brier score", "brier"), ("Accuracy", "accuracy"), ("Macro F1", "macro_f1"),
                 ("Expected calibration error", "ece"))  # fmt: skip
_NAMED_CLASSES = 20  # as many are listed on a card; all are in config.json


def model_card(
    facts: ModelFacts,
    *,
    task: Task | None = None,
    known_domains: Sequence[int] | Sequence[str],
    known_species: Sequence[str] | None = None,
    number_units: NumberUnits | None = None,
    sigmas: Mapping[str, Sequence[float]],
    has_record: bool = False,
) -> str:
    """Markdown, in the layout of model cards on the Hugging Face hub.

    task: the challenge's where none is given. known_species, number_units: None without a code. has_record: whether
    digests of what was trained on lie beside the card.
    """
    task = task or beetles()
    sections = {
        "What it is": _what(facts, task),
        "How it was trained": _training(facts, task, known_domains, known_species, number_units, has_record=has_record),
        "Scores": _scores(facts, task),
        "Uncertainty": _uncertainty(sigmas, task),
        "Known limits": _limits(facts, task, number_units, has_species=known_species is not None),
        "How to use it": _use(task, known_domains, number_units, has_species=known_species is not None),
    }
    parts = [f"# {facts.name}\n"]
    parts += [f"## {title}\n\n{chr(10).join(lines)}\n" for title, lines in sections.items()]
    return shown("\n".join(parts), keep="\n")  # the name of a folder of data may hold anything


def _what(facts: ModelFacts, task: Task) -> Iterator[str]:
    n_members = len(facts.members or facts.seeds)
    members = "one network" if n_members == 1 else f"the mean of {n_members} networks"
    yield (
        f"{_in_and_out(task)}: {members} on the vision tower `{facts.backbone}`. "
        "Adapters are merged; `adapter/`, where there is one, holds them apart in peft's format."
    )
    if facts.floor_shares:
        floors = " and ".join(f"{share:.0%} of the floor `{name}`" for name, share in facts.floor_shares.items())
        own = 1 - sum(facts.floor_shares.values())
        yield (
            f"\nOf a forecast for a domain that was trained on, {own:.0%} is theirs, and {floors}: the training labels "
            "of the domain or the species, whatever the photograph shows."
        )
    configs = [TrialConfig.from_dict(of.config) for of in facts.members] or [TrialConfig.from_dict(facts.config)]
    n_flipping = sum(config.augment.test_flips for config in configs)
    if n_flipping:
        what = "Probabilities" if task.has_classes else "Forecasts"
        whose = "" if n_flipping == len(configs) else f" of {n_flipping} of the {len(configs)} configurations"
        yield f"\n{what}{whose} are the mean for a photograph and for it flipped left to right."
    if task.has_classes:
        more = ", and more, which the `classes` of `config.json` name" * (task.n_outputs > _NAMED_CLASSES)
        yield f"\nThe classes are {_listed(task.classes[:_NAMED_CLASSES])}{more}."


def _in_and_out(task: Task) -> str:
    if task.is_beetles:
        return (
            f"Photographs of ground beetles in, a normal forecast (mu, sigma) of the drought indices "
            f"{', '.join(task.names)} at the place and date of their capture out"
        )
    about = f" ({task.about})" * bool(task.about)
    if task.has_classes:
        return f"Photographs in, a probability of each of {task.n_outputs} classes of {task.names[0]} out{about}"
    named = ", ".join(target.name + f" ({target.unit})" * bool(target.unit) for target in task.targets)
    return f"Photographs in, a normal forecast (mu, sigma) of {named} out{about}"


def _training(
    facts: ModelFacts,
    task: Task,
    known_domains: Sequence[int] | Sequence[str],
    known_species: Sequence[str] | None,
    number_units: NumberUnits | None,
    *,
    has_record: bool,
) -> Iterator[str]:
    if facts.members:
        for member in facts.members:
            yield f"* member `{member.name}`: {_what_trained(member.config)}; {_length(member)}; seed {member.seed}"
    else:
        yield f"* what trained: {_what_trained(facts.config)}"
        yield f"* length: {_length(facts)}; seeds: {_listed(facts.seeds)}"
    sizes = f"{counted(facts.n_specimens, 'specimen')} of {counted(facts.n_events, 'event')}"
    digests = "; digests of them: `training_data.json`" if has_record else ""
    yield f"* data: `{facts.data}`, {sizes} trained on{digests}"
    if task.columns.domain is not None:
        yield f"* domains trained on: {_listed(known_domains)}"
    if known_species is not None:
        yield f"* species trained on: {len(known_species)}, whose names are the `known_species` of `config.json`"
    if number_units is not None:
        yield f"* numbers read: {_listed(map(_number_words, number_units.to_dict()))}"
    if facts.holdout == "all":
        yield "* held out: nothing; the final training takes all data"
    else:
        held_out = f"* held out: policy {facts.holdout}, fold {facts.fold}"
        domains = "" if task.columns.domain is None else f"; domains {_listed(facts.held_out_domains)}"
        yield f"{held_out}; sites {_listed(facts.held_out_sites)}{domains}"
    if facts.study_id:
        yield f"* study: `{facts.study_id}`"
    if facts.precision:
        yield f"* precision: trained in {facts.precision}; this folder computes in float32"
    yield f"* versions: {_listed(f'{name} {version}' for name, version in facts.versions.items())}"
    yield f"* data fingerprint `{facts.data_fingerprint}`, backbone fingerprint `{facts.backbone_fingerprint}`"


def _what_trained(values: JsonObject) -> str:
    config = TrialConfig.from_dict(values)
    adapter = config.adapter
    kind = "all weights" if adapter.kind == "full" else f"{adapter.kind} adapters of rank {adapter.rank}"
    if adapter.kind != "full" and adapter.rank_stabilized:
        kind += ", rank-stabilized"
    scales = {"species": config.tail.species_scale, "numbers": config.tail.number_scale}
    *others, last = ["domain", *(name for name, scale in scales.items() if scale)]
    codes = f"codes of {', '.join(others)} and {last}" if others else "domain code"
    return f"{kind} in the last {counted(config.tail.n_blocks, 'block')}, `ln_post`, {codes} and regressor"


def _number_words(of: JsonObject) -> str:
    if of["sd"] >= SD_OF_NONE:
        return f"{of['name']} (never differed, so it has no part)"
    return f"{of['name']} (mean {of['mean']:.6g}, SD {of['sd']:.6g})"


def _length(of: ModelFacts | MemberFacts) -> str:
    return f"{of.epochs} of {counted(n_epochs_of(of.config['epochs'], of.config.get('length', 1.0)), 'epoch')}"


_INTERVALS = {
    True: "Intervals speak of other domains and other trainings; they rest on whole domains and folds.",
    False: "Intervals resample whole sites: they speak of other sites, not of other trainings.",
}


def _scores(facts: ModelFacts, task: Task) -> Iterator[str]:
    if not facts.scores:
        yield "Not measured: nothing was held out from this training, and its configuration was not confirmed."
        return
    yield f"Measured on {_measured_on(facts)}."
    if facts.verdict:
        yield f"\nVerdict: {facts.verdict}"
    yield f"\n{_score_words(task)}; lower is better. Floors are forecasts that see no image.\n"
    rows = {"this model": facts.scores, **{f"floor {name}": metrics for name, metrics in facts.floors.items()}}
    scores = {f"{part} score".removeprefix("all "): key for key, part in score_keys(task).items()}
    yield from _table(rows, {title: key for title, key in scores.items() if key in facts.scores})
    for title, key in scores.items():
        if key in facts.intervals:
            low, high = facts.intervals[key]
            yield f"\n{title}: {facts.scores[key]:.4f}, {facts.interval_level:.0%} interval [{low:.4f}, {high:.4f}]"
    if facts.intervals:
        yield f"\n{_INTERVALS[facts.scores_of == 'confirmation']}"
    for title, group in _CLASS_GROUPS if task.has_classes else _GROUPS:
        columns = {
            f"{part} {target}".strip(): f"{group}_{name}/{target}"
            for name, part in _parts(task).items()
            for target in task.names
        }
        if present := {column: key for column, key in columns.items() if key in facts.scores}:
            yield f"\n{title}:\n"
            yield from _table(rows, present)


def _parts(task: Task) -> dict[str, str]:
    """Those that figures are told of -> what they are called, of a task without domains nothing."""
    return {part: PART_NAMES[part] for part in parts_of(task) if part != "all"} or {"id": ""}


def _score_words(task: Task) -> str:
    share = "" if task.score.scale == "raw" else f", as a share of {SHARED_OF},"
    over = ["targets"] * (not task.has_classes)
    if task.columns.domain is not None:
        over.append("over ID (known domains, unseen sites) and OOD (unseen domains) events")
    mean = f"the mean {loss_name(task)}{share}"
    if not over:
        return f"The score is {mean}".rstrip(",")
    return f"The score is the root mean square of {mean} over {' and '.join(over).removeprefix('over ')}"


def _measured_on(facts: ModelFacts) -> str:
    if facts.scores_of == "confirmation":
        near = "for each event those confirmed configurations that forecast other events about as well as the best"
        near += ", with floors by the shares that these gave them" * bool(facts.floor_shares)
        what = near if facts.members else "its configuration"
        seen = f"{what}, trained without the scored events on each of the confirmation's folds"
    elif facts.holdout == "all":
        seen = "its configuration, on the events held out from it in the search, by which it was chosen"
    else:
        return "this very model, on the events that were held out from its training"
    return f"{seen}; this model itself has seen all of the data"


def _table(rows: Mapping[str, Mapping[str, float]], columns: Mapping[str, str]) -> Iterator[str]:
    yield f"| | {' | '.join(columns)} |"
    yield f"|---|{'---|' * len(columns)}"
    for name, metrics in rows.items():
        if not metrics.keys() & set(columns.values()):
            continue
        cells = (f"{metrics[key]:.4f}" if key in metrics else "" for key in columns.values())
        yield f"| {name} | {' | '.join(cells)} |"


def _uncertainty(sigmas: Mapping[str, Sequence[float]], task: Task) -> Iterator[str]:
    if task.has_classes:
        yield from _temperatures(sigmas)
        return
    yield (
        "Sigma is one number a target, larger or smaller by whether the domain was trained on; it was calibrated on "
        "events that the forecasting model had not seen, and does not vary from event to event.\n"
    )
    yield f"| domain | {' | '.join(task.names)} |"
    yield f"|---|{'---|' * len(task.names)}"
    for kind, values in sigmas.items():
        yield f"| {kind} | {' | '.join(f'{value:.4f}' for value in values)} |"


def _temperatures(found: Mapping[str, Sequence[float]]) -> Iterator[str]:
    yield (
        "Probabilities are the softmax of an event's mean logits, divided by a temperature that was calibrated on "
        "events which the forecasting model had not seen; above 1 it makes them less sure. It depends on whether the "
        "domain was trained on, and on nothing else.\n"
    )
    yield "| domain | temperature |\n|---|---|"
    yield from (f"| {kind} | {values[0]:.4f} |" for kind, values in found.items())


def _limits(facts: ModelFacts, task: Task, number_units: NumberUnits | None, *, has_species: bool) -> Iterator[str]:
    if task.is_beetles:
        low, high = task.targets[0].low, task.targets[0].high
        yield f"* Labels are ranks of a 36-year climatology within [{low:g}, {high:g}]; forecasts are clipped to them."
    for target in () if task.is_beetles else task.targets:
        limits = [
            f"{word} {bound:g}" for word, bound in (("from", target.low), ("to", target.high)) if bound is not None
        ]
        if limits:
            yield f"* Labels of {target.name} lie {' '.join(limits)}; forecasts are clipped to that."
    if task.has_classes:
        yield f"* Whatever is of none of the {task.n_outputs} classes is forecast as if it were of one of them."
    if task.columns.domain is not None:
        calibration = "temperature" if task.has_classes else "sigma"
        yield (
            f"* A domain that was not trained on is treated as *unknown*: one common code, the {calibration} of "
            "unknown domains."
        )
    if has_species:
        yield "* A species that was not trained on, or not named, is *unknown* likewise: one common code."
    if number_units is not None:
        yield (
            f"* A number that is not given is taken for missing; one more than {MOST_SDS:g} SDs from the mean counts "
            "as that far."
        )
    yield from _beside_floors(facts)
    if facts.n_leaked_events:
        yield (
            f"* **The {facts.holdout} split leaks**: {counted(facts.n_leaked_events, 'held-out event')} in the "
            "training data too. Its scores are optimistic and do not transfer to new sites."
        )
    if facts.scores_of == "held-out events":
        flattered = "scores and temperatures" if task.has_classes else "scores and sigmas"
        yield f"* The epoch was chosen on the very events that are scored above, which flatters {flattered}."
    if facts.data.partition(":")[0] == "demo":
        yield "* **Trained on the built-in demo data**, which are drawn, not photographed: of no use for real beetles."
    if facts.backbone == "tiny":
        yield "* **The backbone `tiny` has seen drawn beetles only**: it stands in for a real one to try the software."
    if facts.backbone == "tiny:random":
        yield "* **The backbone `tiny:random` has random weights**: it stands in for a real one to test the software."


def _beside_floors(facts: ModelFacts) -> Iterator[str]:
    floor = best_floor(facts.floors)
    if floor is None or SCORE not in facts.scores:
        return
    score, named = facts.scores[SCORE], f"the floor `{floor.name}`, which sees no image"
    if score < floor.score:
        gain = f"{floor.score - score:.4f} ({(floor.score - score) / floor.score:.0%})"
        yield f"* Its score gains {gain} on {named}; read it beside the floors."
    else:
        yield f"* **It loses to {named}**: its score is {score:.4f}, and that of the floor {floor.score:.4f}."


def _use(
    task: Task,
    known_domains: Sequence[int] | Sequence[str],
    number_units: NumberUnits | None,
    *,
    has_species: bool,
) -> Iterator[str]:
    """With made-up names of the challenge; of another task, with one of its own domains, and the usual numbers."""
    if not task.is_beetles:
        yield from _use_of(task, known_domains, number_units)
        return
    name = " --species 'Carabus nemoralis'" if has_species else ""
    yield "```bash\nsentinel-tune predict . beetles/*.jpg --domain 11" + name
    yield "sentinel-tune export . --submission submission\n```"
    yield (
        "\nElsewhere, with torch and open_clip alone, by `trainable/export/standalone.py` of sentinel-tune (which is "
        "also the `model.py` of a submission):\n"
    )
    names = ", species=['Carabus nemoralis']" if has_species else ""
    yield (
        "```python\nfrom standalone import ExportedModel\n\nmodel = ExportedModel.load('.')\n"
        "images = [open('beetle.jpg', 'rb').read()]\n"
        f"predictions = model.predict(images, domains=[11]{names})\n"
        "forecasts = model.forecast(predictions, ['my event'], [11])\n```"
    )


def _use_of(
    task: Task, known_domains: Sequence[int] | Sequence[str], number_units: NumberUnits | None
) -> Iterator[str]:
    domain = known_domains[0] if task.columns.domain is not None and known_domains else None
    given = "" if domain is None else f" --domain {shlex.quote(str(domain))}"
    numbers = ""
    if number_units is not None:
        usual = {of["name"]: float(f"{of['mean']:.3g}") for of in number_units.to_dict()}
        given, numbers = f"{given} --numbers photographs/metadata.csv", f", numbers=[{usual!r}]"
    yield "```bash\nsentinel-tune predict . photographs/*.jpg" + given + "\n```"
    yield "\nElsewhere, with torch and open_clip alone, by `trainable/export/standalone.py` of sentinel-tune:\n"
    yield (
        "```python\nfrom standalone import ExportedModel\n\nmodel = ExportedModel.load('.')\n"
        "images = [open('photograph.jpg', 'rb').read()]\n"
        f"predictions = model.predict(images, domains=[{domain!r}]{numbers})\n"
        f"forecasts = model.forecast(predictions, ['my event'], [{domain!r}])\n```"
    )


def _listed(values: object) -> str:
    return ", ".join(map(str, values)) or "none"  # type: ignore[call-overload]
