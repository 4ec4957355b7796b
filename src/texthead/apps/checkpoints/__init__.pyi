"""The public names of the package, imported on first use."""

from .templates_head import MeanProbabilityHead as MeanProbabilityHead
