"""Networks: torch only, no scikit-learn and no files."""
