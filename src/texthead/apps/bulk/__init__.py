"""Predictions of millions of files on Ray.

command  texthead bulk
bulk     files -> Parquet files of predictions, on a Ray cluster or on a temporary one of this machine
"""
