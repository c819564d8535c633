"""The script of a Slurm job, from what sbatch is asked for and what is run; `slurm_template.py` has its words."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trainable.storage.place import Place
from tune.jobs import slurm_template as template

RayPlace = Literal["nodes", "verb", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmJob:
    """What a script is made of.

    directives: sbatch's options without their dashes; None leaves one out, True gives it without a value. setup: shell
    commands that prepare a node. command: the verb and its words. sets_workers: these say how many CPUs to use; else
    it is what Slurm gave. study: of a search, whose second run resumes it. ray: who starts Ray: the script on all
    "nodes", the "verb" itself on its one node, or nobody ("none"). goes_on: an interrupted run can be resumed.
    half_warning_seconds: from Slurm's warning until what has not finished its epoch by then is stopped at once.
    """

    directives: Mapping[str, str | int | bool | None]
    folder: Path
    setup: str | None
    python: Path
    log_dir: Path
    command: tuple[str, ...]
    sets_workers: bool
    study: Place | None
    ray: RayPlace
    goes_on: bool
    max_requeues: int
    half_warning_seconds: int

    def text(self) -> str:
        """The script."""
        verb = self.command[0]
        promise = (template.GOES_ON if self.goes_on else template.STARTS_OVER).format(verb=verb)
        parts = [
            template.TOP.format(verb=verb, promise=promise),
            *(f"#SBATCH {line}\n" for line in _directives(self.directives)),
            self._what_is_run(),
            template.SIGNALS.replace("@half@", str(self.half_warning_seconds)),
            self._ray(),
            template.RUN.format(verb=verb, resume=template.RESUME if self.study is not None else ""),
            template.LEAVE_RAY if self.ray == "nodes" else "",
            (template.REQUEUE.replace("@max@", str(self.max_requeues)) if self.goes_on else ""),
            template.END.format(verb=verb),
        ]
        return "".join(parts)

    def _ray(self) -> str:
        if self.ray == "nodes":
            return template.RAY.replace("@logs@", shlex.quote(str(self.log_dir)))
        return template.OWN_RAY if self.ray == "verb" else ""

    def _what_is_run(self) -> str:
        text = template.COMMAND.format(
            folder=shlex.quote(str(self.folder)),
            setup=f"{self.setup}\n" if self.setup else "",
            python=shlex.quote(str(self.python)),
            command=shlex.join(self.command),
        )
        if not self.sets_workers:
            text += template.WORKERS
        if self.study is not None:
            text += template.STUDY.format(study=shlex.quote(str(self.study)))
        return text


def _directives(values: Mapping[str, str | int | bool | None]) -> list[str]:
    """sbatch reads double quotes and backslashes before them, and expands nothing."""
    lines = []
    for name, value in values.items():
        if value is True:
            lines.append(f"--{name}")
        elif value is not None:
            text = str(value)
            quoted = (
                text
                if re.fullmatch(r"[\w@:.,/%+-]+", text)
                else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
            )
            lines.append(f"--{name}={quoted}")
    return lines
