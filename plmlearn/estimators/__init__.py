"""What users touch: scikit-learn estimators."""
