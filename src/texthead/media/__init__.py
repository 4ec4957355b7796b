"""Files -> frames.

open          open any file by its name, the only door to the decoders; the table of readers
reader        what every reader offers: the base class Media; a part of a file
video         the frames of a video, by number
video_stream  a video stream as it is stored, and whether it is complete
video_pipe    a pipe, a camera or an address -> frames with their times
mp4_header    how many samples the header of an .mp4 claims
image         an image, or a folder of them, as a clip
frame_folder  clips stored as one image a frame
shard         clips stored in tar shards, local or remote
stored_clip   a clip of a shard, frame by frame
jpeg          JPEG -> pixels
find          media files below a folder
paths         local paths, remote addresses, and parts of files by their times
fingerprints  content digests of files
limits        the limits of every clip: sizes, memory, frame numbers
"""
