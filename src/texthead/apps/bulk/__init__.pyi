"""The public names of the package, imported on first use."""

from .bulk import SliceOptions as SliceOptions
from .bulk import open_slices as open_slices
from .bulk import predict_slices as predict_slices
from .bulk_on_ray import predict_on_ray as predict_on_ray
