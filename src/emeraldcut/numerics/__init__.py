"""Compiled code, and the numerics that it shares."""
