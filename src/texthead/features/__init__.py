"""Encode once: features of files, computed and cached.

cache   features on disk, by content
engine  what computes features, and which is the fastest here
frames  files -> features of their frames
views   files -> features of their views
reading   how files are read: workers, batch, cache, unreadable files
"""
