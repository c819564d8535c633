"""`--trial-resources NAME=AMOUNT`: what of a cluster a trial occupies beside CPUs and GPUs."""

import math
from collections.abc import Iterable

from trainable.errors import UserError


def parse_resources(given: Iterable[str]) -> dict[str, float]:
    """`NAME=AMOUNT` -> {name: amount}.

    Raises: UserError naming every entry of another form.
    """
    found: dict[str, float] = {}
    problems = []
    for entry in given:
        name, _, amount = entry.partition("=")
        value = _number(amount)
        if not name or value is None or not 0 < value < math.inf:
            problems.append(f"`--trial-resources` must be NAME=AMOUNT with an amount above 0, but got {entry!r}")
        elif name in ("CPU", "GPU"):
            problems.append(f"`--trial-resources` must not name {name}; use --{name.lower()}s-per-trial")
        else:
            found[name] = value
    if problems:
        raise UserError(problems)
    return found


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
