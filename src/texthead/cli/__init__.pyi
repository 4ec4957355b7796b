"""The public names of the package, imported on first use."""

from .console import console as console
from .model import ModelOptions as ModelOptions
from .model import noted_calibration as noted_calibration
from .model import with_classes as with_classes
from .options import EncodingOptions as EncodingOptions
from .options import SourceOptions as SourceOptions
from .options import default_workers as default_workers
from .options import run_argument as run_argument
from .outputs import check_out_file as check_out_file
from .outputs import check_outputs as check_outputs
from .parser import NonNegativeInt as NonNegativeInt
from .parser import PositiveInt as PositiveInt
from .parser import argument as argument
from .parser import extra as extra
from .parser import option as option
from .parser import values_of as values_of
from .system import reader_gone as reader_gone
