"""How one kind of target is calibrated and scored: what scorer, floors, confirmation and ensemble ask for."""

from typing import Protocol

from jaxtyping import Float64

from trainable.scoring.crps import Floats


class Rule(Protocol):
    """Arrays are of events, a row each. mu: the mean of an event's images' outputs.

    A *calibration* is what is fitted on other events than are scored: sigma of a real target, temperature of classes.
    """

    @property
    def kinds(self) -> tuple[str, ...]:
        """Names of `run_figures`."""

    def clip(self, outputs: Float64[Floats, "*rows outputs"]) -> Float64[Floats, "*rows outputs"]:
        """Outputs within what labels can be."""

    def fit(
        self,
        labels: Float64[Floats, "events targets"],
        mu: Float64[Floats, "events outputs"],
        weights: Float64[Floats, "fits events"] | None = None,
    ) -> Float64[Floats, "fits targets"]:
        """The calibration of the lowest mean loss on these events.

        weights: non-negative, each row summing to 1; by default one fit over all events.
        """

    def within(self, calibration: Float64[Floats, "*rows targets"]) -> Float64[Floats, "*rows targets"]:
        """The calibration within the range of those that can be fitted."""

    def uncalibrated(self, training: Float64[Floats, "events targets"]) -> Float64[Floats, " targets"]:
        """What stands for a calibration where too few events are held out; training: labels of the training events."""

    def losses(
        self,
        labels: Float64[Floats, "events targets"],
        mu: Float64[Floats, "events outputs"],
        calibration: Float64[Floats, "events targets"],
    ) -> Float64[Floats, "events targets"]:
        """What a score is the mean of; lower is better."""

    def run_figures(
        self,
        labels: Float64[Floats, "events targets"],
        mu: Float64[Floats, "events outputs"],
        losses: Float64[Floats, "events targets"],
        calibration: Float64[Floats, "events targets"],
        *,
        pooled: Float64[Floats, " targets"],
        images: Float64[Floats, "images outputs"],
        image_labels: Float64[Floats, "images targets"],
    ) -> dict[str, Float64[Floats, " targets"]]:
        """What one run is told by. pooled: the calibration on all events."""

    def gathered_figures(
        self,
        labels: Float64[Floats, "events targets"],
        mu: Float64[Floats, "seeds events outputs"],
        losses: Float64[Floats, "events targets"],
        calibration: Float64[Floats, "seeds events targets"] | None,
    ) -> dict[str, Float64[Floats, " targets"]]:
        """What several runs are told by: the means over seeds, as `losses` are. calibration: None where not kept."""

    def kept(self, mu: Float64[Floats, "*rows outputs"]) -> Float64[Floats, "*rows outputs"]:
        """As exact as forecasts are kept beside a verdict."""

    def error(
        self,
        labels: Float64[Floats, "events targets"],
        mu: Float64[Floats, "events outputs"],
        losses: Float64[Floats, "events targets"],
    ) -> Float64[Floats, " targets"]:
        """What a mean loss is proportional to where the calibration is the best one."""

    def constant(
        self,
        labels: Float64[Floats, "events targets"],
        otherwise: Float64[Floats, " outputs"] | None = None,
    ) -> Float64[Floats, " outputs"]:
        """The outputs that forecast all these events alike. otherwise: those of many more events, of which these are
        some.
        """
