"""Checks that several networks make of their arguments."""

from __future__ import annotations

from bnn.errors import ConfigError


def check_positive(**values: object) -> None:
    """Refuse values that are not integers of at least 1; the keywords are the names to report.

    Raises:
        ConfigError: If a value is not, naming it.

    Example:
        >>> check_positive(width=64, groups=0)
        Traceback (most recent call last):
        bnn.errors.ConfigError: groups must be an integer of at least 1, not 0
    """
    for name, value in values.items():
        if not isinstance(value, int) or value < 1:
            raise ConfigError(f"{name} must be an integer of at least 1, not {value!r}")
