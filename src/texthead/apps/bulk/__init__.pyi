"""The public names of the package, imported on first use."""

from .bulk import predict_many as predict_many
