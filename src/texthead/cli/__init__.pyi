"""The public names of the package, imported on first use."""

from .console import console as console
from .model import ModelOptions as ModelOptions
from .model import noted_calibration as noted_calibration
from .model import notes_on_names as notes_on_names
from .model import notes_on_other_classes as notes_on_other_classes
from .model import with_classes as with_classes
from .options import ClassesOption as ClassesOption
from .options import DataOption as DataOption
from .options import DeviceOption as DeviceOption
from .options import EncoderOption as EncoderOption
from .options import PortOption as PortOption
from .options import RunOption as RunOption
from .options import SkipOption as SkipOption
from .options import SourceOption as SourceOption
from .options import TextOption as TextOption
from .options import check_no_encoder as check_no_encoder
from .options import default_workers as default_workers
from .options import run_argument as run_argument
from .outputs import check_out_file as check_out_file
from .outputs import check_outputs as check_outputs
from .parser import argument as argument
from .parser import extra as extra
from .parser import option as option
