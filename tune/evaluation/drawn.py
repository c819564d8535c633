"""Which figures an evaluation has: of real targets others than of classes."""

from tune.evaluation import class_figures, figures
from tune.evaluation.reports import ModelReport


def figures_of(report: ModelReport) -> dict[str, bytes]:
    """PNG by name, as the report's page asks for them."""
    forecasts, evaluation = report.forecasts, report.evaluation
    worst = figures.worst_events(report.worst)
    if evaluation.classes is not None:
        return {
            "reliability": class_figures.reliability(evaluation.classes, has_domains=forecasts.has_domains),
            "confusion": class_figures.confusion(evaluation.classes),
            "groups": class_figures.losses_by_group(forecasts),
            "worst": worst,
        }
    return {
        "predicted": figures.predicted_against_observed(forecasts),
        "calibration": figures.calibration_curves(evaluation.coverage, has_domains=forecasts.has_domains),
        "residuals": figures.residuals_by_group(forecasts),
        "worst": worst,
    }
