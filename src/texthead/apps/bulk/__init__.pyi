"""The public names of the package, imported on first use."""

from .bulk import PartOptions as PartOptions
from .bulk import open_parts as open_parts
from .bulk import predict_parts as predict_parts
from .bulk_on_ray import predict_on_ray as predict_on_ray
