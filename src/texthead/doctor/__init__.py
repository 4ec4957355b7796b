"""What is wrong with data.

facts             facts of one file that need no model
findings          facts of files and names -> findings, and the list without them
near_duplicates   pairs of files that look alike
encoder_findings  findings that need an encoder
swapped_names     two classes whose names look swapped
examine           all findings, in one call
overview          what there is of each class, and which files to show
page              the findings as a page
"""
