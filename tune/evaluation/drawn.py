"""Which figures an evaluation has: of real targets others than of classes."""

from tune.evaluation import class_figures, figures
from tune.evaluation.reports import ModelReport


def figures_of(report: ModelReport) -> dict[str, bytes]:
    """PNG by name, as the report's page asks for them."""
    forecasts, evaluation, names = report.forecasts, report.evaluation, report.part_names
    has_domains = forecasts.has_domains
    worst = figures.worst_events(report.worst)
    if evaluation.classes is not None:
        return {
            "reliability": class_figures.reliability(evaluation.classes, has_domains=has_domains, part_names=names),
            "confusion": class_figures.confusion(evaluation.classes),
            "groups": class_figures.losses_by_group(forecasts),
            "worst": worst,
        }
    return {
        "predicted": figures.predicted_against_observed(forecasts, part_names=names),
        "calibration": figures.calibration_curves(evaluation.coverage, has_domains=has_domains, part_names=names),
        "residuals": figures.residuals_by_group(forecasts),
        "worst": worst,
    }
