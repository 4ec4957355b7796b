"""The public names of the package, imported on first use."""

from .folder import ENCODER as ENCODER
from .folder import classes_json as classes_json
from .folder import data_name as data_name
from .folder import rows_digest as rows_digest
from .folder import save_model as save_model
from .folder import saved_split as saved_split
from .folder import write_run as write_run
from .metrics import read_records as read_records
from .run import CALIBRATION as CALIBRATION
from .run import HERE as HERE
from .run import Edit as Edit
from .run import Run as Run
from .saved import check_run as check_run
from .saved import check_run_exists as check_run_exists
from .saved import is_run as is_run
from .saved import saved_classes as saved_classes
from .scored_items import training_items as training_items
from .scores import SCORES as SCORES
from .scores import read_scores as read_scores
