"""The built-in search spaces, variants and tasks."""

from collections.abc import Iterator

from docs.site.markdown import code, page, plain, sentence, table
from search_spaces.parameter import in_words
from search_spaces.space import SearchSpace, list_spaces, list_variants, read_variant
from trainable.config import PROJECTIONS
from trainable.data.task import FOLDER, Task
from trainable.data.task_parts import ClassTarget, Target
from trainable.yaml_source import file_names

SPACES = """\
What `--space` takes by name. *Scientific* parameters are what a search is to learn about, *nuisance* ones must be
tuned for a fair comparison. `[1, 6] log` is a range that is sampled evenly in the logarithm. A space of your own:
[how](../space.md). What the keys mean: [configuration of a trial](configuration.md)."""

TASKS = """\
What `--task` takes by name; what names no task is of `beetles`. A task of your own is a file such as these beside the
data: [how](../your-data.md#2-a-task)."""


def spaces_page() -> str:
    """The page of spaces and variants."""
    lines = [line for name in list_spaces() for line in _space(SearchSpace.load(name))]
    return page("Search spaces and variants", SPACES, [*lines, *_variants()])


def tasks_page() -> str:
    """The page of tasks."""
    lines = []
    for name in file_names(FOLDER):
        task = Task.load(name)
        bounds = [(code(t.name), code(t.column), plain(t.unit), _labels(t)) for t in task.targets]
        lines += [f"## {name}", "", sentence(task.about)]
        lines += table(("target", "column", "unit", "labels are"), bounds)
        lines += ["```yaml", (FOLDER / f"{name}.yaml").read_text(encoding="utf-8").strip(), "```", ""]
    return page("Tasks", TASKS, lines)


def _space(space: SearchSpace) -> Iterator[str]:
    yield from (f"## {space.name}", "", sentence(space.about), "")
    yield f"What does not vary is that of the variant {code(space.base.name)}."
    for title, points in (("It starts from", space.start_from), ("It compares with", space.compare_with)):
        if points:
            yield f"{title} {', '.join(code(point.name) for point in points)}."
    rows = []
    for p in space.parameters:
        condition = f", when {p.when_text()}, else {in_words(p.otherwise)}" if p.when else ""
        rows.append((code(p.key), plain((p.range_text() + condition).replace("+", " + ")), p.role, plain(p.why)))
    yield from table(("parameter", "range", "role", "why"), rows)


def _variants() -> Iterator[str]:
    """What they are, and every value; those of a row that are alike say so once."""
    variants = [read_variant(name) for name in list_variants()]
    yield from ("## Variants", "", "Complete configurations by name, which `--variant` takes.")
    yield from table(("variant", "what it is"), [(code(v.name), plain(v.about)) for v in variants])
    flat = [v.config.flat() for v in variants]
    yield from table(
        ("key", *(code(v.name) for v in variants)), [(code(key), *(_shown(f[key]) for f in flat)) for key in flat[0]]
    )
    for variant in variants:
        if variant.mended:
            yield from (f"Mended in `{variant.name}`, beside what was published:", "")
            yield from (f"* {plain(item)}" for item in variant.mended)
            yield ""


def _shown(value: object) -> str:
    return "all six" if value == PROJECTIONS else plain(in_words(value).replace("+", " + "))


def _labels(target: Target) -> str:
    if isinstance(target, ClassTarget):
        return "classes that the data name" if target.classes is None else plain(", ".join(target.classes))
    return _bounds(target.low, target.high)


def _bounds(low: float | None, high: float | None) -> str:
    if low is high is None:
        return "any"
    return f"{'-∞' if low is None else f'{low:g}'} to {'∞' if high is None else f'{high:g}'}"
