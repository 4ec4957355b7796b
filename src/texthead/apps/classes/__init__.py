"""Add, rename, remove and merge the classes of a run.

command      texthead classes
class_edits  add, rename, remove and merge classes
"""
