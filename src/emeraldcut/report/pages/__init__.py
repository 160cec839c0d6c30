"""The page of each kind of run."""
