"""Label files in the browser, the most useful ones first.

command         texthead label
session         the next file for each person, the model, its accuracy
app             the page of `texthead label`, and training started from it; its markup and script are in label/
label_file      labels in a CSV that several people edit at once
labelling       unlabelled files and windows of long videos, their features, and the labels so far
selection       choose the files to label next
learning_curve  estimate accuracy and the gain of more labels
"""
