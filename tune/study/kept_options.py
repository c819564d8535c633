"""What a study was given, for the verbs that come after its search."""

from collections.abc import Iterable, Mapping
from typing import Any


def kept_options(events: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The study's options as its latest session had them, plain values by name."""
    kept: dict[str, Any] = {}
    for event in events:
        if event["event"] == "study":
            kept = dict(event["header"]["options"])
        elif event["event"] == "session":
            kept |= event.get("given", {})
    return kept
