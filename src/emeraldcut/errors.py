"""The errors that a user can expect. Their message is one sentence: what was expected, what was found, what to do.

    EmeraldcutError
        UsageError (also ValueError)             what was asked for cannot be done: a setting, a name, a file
            images.NoImagesError                 the input is there, but nothing in it can be used
        WorkError (also RuntimeError)            a process or a program that does part of the work has failed
        MissingPackageError (also ImportError)   an optional package is needed and not installed

Errors of the system (OSError: no such file, a full disk, a server that does not answer) are expected too. Anything else
is a bug, and the command line says so.
"""

from __future__ import annotations


class EmeraldcutError(Exception):
    """Any error of this package whose message is meant for the user; `status` is what a command then ends with."""

    status = 2


class UsageError(EmeraldcutError, ValueError):
    """What was asked for cannot be done."""


class WorkError(EmeraldcutError, RuntimeError):
    """A process or a program that does part of the work has failed."""

    status = 1


class MissingPackageError(EmeraldcutError, ImportError):
    """An optional package is needed and not installed."""
