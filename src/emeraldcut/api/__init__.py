"""The functions that `import emeraldcut` gives: see `stages`, `exchange`, `runs` and `pages`."""
