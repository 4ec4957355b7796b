"""Add, rename and remove the classes of a run.

command      texthead classes
class_edits  add, rename and remove classes
"""
