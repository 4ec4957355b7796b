"""Predictions of millions of files by many processes.

command      texthead bulk
bulk         millions of files, in parts, by any number of processes
bulk_on_ray  the same parts on a Ray cluster
"""
