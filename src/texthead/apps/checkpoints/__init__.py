"""Runs from published checkpoints of Text4Vis, BIKE and others.

command        texthead import
imported       import a published checkpoint as a run
published      checkpoints of Text4Vis, ActionCLIP, ViFi-CLIP and BIKE
spotting_head  a head that weighs frames per class: BIKE's video concept spotting
"""
