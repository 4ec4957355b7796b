"""Labelled data from Label Studio, and files for it.

tasks            Label Studio tasks -> labelled files
labelling_tools  labels and guesses for Label Studio
"""
