"""Files -> frames.

open          the table of readers; open a file with the reader of its name
reader        Media, the base class of readers; Part, a time span of a file
video         read the frames of a video by number
video_stream  open a video, read its packets, check that it is complete
image         read an image, or a folder of images, as a clip
frame_folder  clips stored as one image per frame
shard         clips stored in tar shards
stored_clip   read single frames of a clip in a shard
find          find media files below a folder
paths         MediaPath, what a path names; Span, a time span of a file; digests of files
addresses     files at remote addresses
limits        limits for every file: pixels, frames, seconds
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
