"""The error a user can act on."""

from __future__ import annotations


class UserError(Exception):
    """A mistake in the config, the data or the environment, told in one sentence with the fix.

    Scripts print its message without a traceback.
    """


class DivergedError(UserError):
    """A training whose loss is not finite."""
