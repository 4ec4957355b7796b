"""The public names of the package, imported on first use."""

from .formats import csv_columns as csv_columns
from .formats import csv_rows as csv_rows
from .formats import json_entry as json_entry
from .predict import Prediction as Prediction
from .predict import answering as answering
from .predict import apply_calibration as apply_calibration
from .predict import check_has_sets as check_has_sets
from .predict import entry_scores as entry_scores
from .predict import names_notes as names_notes
from .predict import predictions_of as predictions_of
from .predict import protocol_of as protocol_of
from .predict import usual_level as usual_level
from .predict import zero_shot as zero_shot
from .run_evaluation import evaluate_run as evaluate_run
