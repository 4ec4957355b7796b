"""The public names of the package, imported on first use."""

from . import limits as limits
from . import paths as paths
from .find import find_media as find_media
from .find import find_names as find_names
from .fingerprints import content_digest as content_digest
from .fingerprints import fingerprint as fingerprint
from .image import Image as Image
from .mp4_header import boxes as boxes
from .open import as_clip as as_clip
from .open import check_part as check_part
from .open import is_image as is_image
from .open import is_media as is_media
from .open import kind_of as kind_of
from .open import media_suffixes as media_suffixes
from .open import open_media as open_media
from .open import reader_of as reader_of
from .reader import Media as Media
from .reader import Part as Part
from .reader import Take as Take
from .reader import frames_within as frames_within
from .shard import has_shards as has_shards
from .shard import is_member as is_member
from .video import Video as Video
from .video_pipe import LiveStream as LiveStream
from .video_pipe import PipedVideo as PipedVideo
