"""Preloaded by the fork server of the data-loader workers: makes decoding hang and ignore Python's signals.

As in the loop of a decoder, nothing of Python runs in this thread, and other threads go on.
"""

import hashlib

from texthead.media import open as media

media.MAX_SECONDS = 0.5
media.Video.frames_at = lambda *_: hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
