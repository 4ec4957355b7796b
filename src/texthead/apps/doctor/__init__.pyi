"""The public names of the package, imported on first use."""

from .wrong_labels import suspicious_labels as suspicious_labels
