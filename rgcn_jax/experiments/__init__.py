"""Several runs side by side: comparisons with significance."""
