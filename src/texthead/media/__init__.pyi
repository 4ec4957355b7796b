"""The public names of the package, imported on first use."""

from .image import Image as Image
from .limits import check_size as check_size
from .open import media_suffixes as media_suffixes
from .paths import MediaPath as MediaPath
from .paths import Span as Span
from .paths import spans_by_file as spans_by_file
from .reader import Media as Media
from .video import Video as Video
