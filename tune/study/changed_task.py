"""Whether a study may be resumed with the task that is named now."""

from collections.abc import Mapping

from trainable.data.task_choice import named_task
from trainable.errors import UserError
from trainable.plain_values import JsonObject
from trainable.storage.place import Place
from tune.journal.study_task import task_of_study


def changed_task(
    given: Mapping[str, object], kept: Mapping[str, object], header: JsonObject, folder: Place
) -> list[str]:
    """Why a study cannot be resumed, if another task is named now; one is that does not change a trial.

    A file that the user does not name may be gone by now.
    given, kept: options by name, as they are given now and as the study had them.
    """
    is_named = given.get("task") is not None
    options = {**kept, **given}
    name = options.get("task")
    try:
        now = named_task(str(options["data"]), None if name is None else str(name))
    except UserError as error:
        return list(error.problems) if is_named else []
    differences = () if now is None else task_of_study(header).differences(now)
    if not differences:
        return []
    what = f"`--task {name}`" if name is not None else f"the task.yaml of {options['data']}"
    return [
        f"a study's task must stay what it was, but {what} differs from that of {folder} (in the study, now): "
        f"{'; '.join(differences)}; begin a new study for it"
    ]
