"""The public names of the package, imported on first use."""

from .estimator import TextHeadClassifier as TextHeadClassifier
