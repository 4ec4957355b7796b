"""Labelled files of Hugging Face `datasets`.

source  what reads `datasets:FOLDER` and `datasets:ID`
"""
