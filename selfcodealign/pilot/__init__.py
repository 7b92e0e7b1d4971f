"""A few seeds through every stage before the whole bill: set up, measured, extrapolated, and said in plain words."""
