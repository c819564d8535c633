"""The task of a study: in its journal's header, whatever becomes of the file that it was read from."""

from trainable.data.task import Task, beetles
from trainable.plain_values import JsonObject


def task_in_header(task: Task) -> JsonObject:
    """What a study's header says of its task; nothing of the challenge's, which studies of before tasks are of."""
    return {} if task.is_beetles else {"task": task.to_dict()}


def task_of_study(header: JsonObject) -> Task:
    """The task that a study's header says."""
    return Task.from_dict(header["task"], label="the study's task") if "task" in header else beetles()
