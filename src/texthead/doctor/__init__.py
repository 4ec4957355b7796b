"""Find problems in datasets.

facts             properties of one file, without a model
findings          findings about files, splits and class names; lists without bad items
near_duplicates   pairs of files that look alike
encoder_findings  findings that need an encoder
swapped_names     pairs of classes whose names look swapped
examine           all findings, in one call
overview          statistics of each class, and example files
page              the findings as JSON and HTML
"""
