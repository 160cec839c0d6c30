"""The functions that `import emeraldcut` gives: see `stages` and `runs`."""
