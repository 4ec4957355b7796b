"""A scikit-learn estimator on files.

estimator  TextHeadClassifier
"""
