"""The public names of the package, imported on first use."""

from .formats import Prediction as Prediction
from .formats import csv_columns as csv_columns
from .formats import csv_rows as csv_rows
from .formats import json_entry as json_entry
from .predict import entry_scores as entry_scores
from .predict import predictions_of as predictions_of
from .run import Edit as Edit
