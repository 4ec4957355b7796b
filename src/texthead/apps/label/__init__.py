"""Label files in the browser, the most useful ones first.

command         texthead label
session         the next file, the model, its accuracy
app             the page of `texthead label`, with label.html, label.js and label.css
label_file      labels in a CSV, and a list of unusable files beside it
labelling       unlabelled files and windows of long videos, their features, and the labels so far
selection       choose the files to label next
learning_curve  estimate accuracy from few labels
"""
