"""The public names of the package, imported on first use."""

from .clips import ViewClips as ViewClips
from .division import Division as Division
from .division import divide as divide
from .labels import join_labels as join_labels
from .labels import split_labels as split_labels
from .manifest import manifest_rows as manifest_rows
from .protocol import Pixels as Pixels
from .reading import read_files as read_files
from .sampling import crop_offsets as crop_offsets
from .sampling import evenly as evenly
from .sources import check_source as check_source
from .transforms import view_crops as view_crops
