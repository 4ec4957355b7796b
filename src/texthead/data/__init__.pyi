"""The public names of the package, imported on first use."""

from .clips import ViewClips as ViewClips
from .division import Division as Division
from .division import divide as divide
from .division import with_validation as with_validation
from .labels import check_no_separator as check_no_separator
from .labels import join_labels as join_labels
from .labels import split_labels as split_labels
from .manifest import manifest_rows as manifest_rows
from .manifest import row_path as row_path
from .protocol import Pixels as Pixels
from .reading import read_files as read_files
from .sampling import crop_offsets as crop_offsets
from .sampling import evenly as evenly
from .sources import check_source as check_source
from .splits import at_most as at_most
from .splits import k_shot as k_shot
from .splits import shuffled as shuffled
from .transforms import view_crops as view_crops
