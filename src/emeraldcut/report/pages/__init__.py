"""The pages of the report, one for each kind of run."""
