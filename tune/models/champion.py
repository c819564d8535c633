"""Whether a new model takes the alias `champion`: only by a win on the same events, or by force."""

from dataclasses import dataclass

from trainable.checksums import from_json
from trainable.errors import UserError
from trainable.plain_values import JsonObject
from trainable.scoring.out_of_fold import OutOfFold, paired_difference, restricted

SAME = ("data_fingerprint", "holdout", "folds", "seeds", "epochs")
"""What two confirmations must have in common for their forecasts to be compared event by event."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChampionDecision:
    """moves: the alias goes to the new model. reason: in words, for the user."""

    moves: bool
    reason: str


def decide_champion(
    *,
    evidence: JsonObject | None,
    is_winner: bool,
    champion: str | None,
    champion_evidence: JsonObject | None,
    force: bool,
) -> ChampionDecision:
    """evidence: the new model's, None if it was never confirmed; is_winner: its confirmation decided for it.
    champion: the present one in words, None while there is none; champion_evidence: its own, None if it has none.
    """
    if champion is None:
        moves, reason = _first(evidence, is_winner=is_winner)
    else:
        moves, reason = _beats(evidence, champion, champion_evidence)
    if force and not moves:
        return ChampionDecision(moves=True, reason=f"forced, although {reason}")
    return ChampionDecision(moves=moves, reason=reason)


def _first(evidence: JsonObject | None, *, is_winner: bool) -> tuple[bool, str]:
    if evidence is None:
        return False, "it was not confirmed"
    if not is_winner:
        return False, "its confirmation decided for another configuration"
    return True, "it is the first, and what its confirmation decided for"


def _beats(evidence: JsonObject | None, champion: str, champion_evidence: JsonObject | None) -> tuple[bool, str]:

    if evidence is None:
        return False, f"it was not confirmed, so it cannot be compared with {champion}"
    if champion_evidence is None:
        return False, f"{champion} was not confirmed, so nothing can be compared with it"
    if differing := [name for name in SAME if evidence[name] != champion_evidence.get(name)]:
        found = ", ".join(
            f"{name.replace('_', ' ')} {_short(evidence[name])} against {_short(champion_evidence.get(name))}"
            for name in differing
        )
        return False, f"{champion} was not confirmed on the same data and folds ({found})"
    try:
        new, present = (OutOfFold.from_dict(of["forecasts"]) for of in (evidence, champion_evidence))
        if evidence.get("fresh_only") and not champion_evidence.get("fresh_only"):
            present = restricted(present, new)  # it was confirmed on events that its search chose by, too
        difference = paired_difference(new, present)
    except ValueError as error:
        return False, f"{champion} cannot be compared with it: {error}"
    if difference.is_win:
        return True, f"it beats {champion} by {difference.size}"
    found = f"{'worse' if difference.mean > 0 else 'better'} by {difference.size}"
    return False, f"it does not beat {champion} beyond noise: {found}"


def read_evidence(content: bytes, *, of: str) -> JsonObject:
    """A model's `confirmation.json`.

    Raises: UserError when it is not one.
    """
    try:
        values = from_json(content)
        _ = [values[name] for name in SAME]
        OutOfFold.from_dict(values["forecasts"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"confirmation.json of {of} must hold its forecasts, but reading it failed: {error!r}"
        ) from error
    return values


def _short(value: object) -> str:
    return value[:12] if isinstance(value, str) else str(value)
