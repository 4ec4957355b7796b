"""The public names of the package, imported on first use."""

from .labelling import label_pool as label_pool
