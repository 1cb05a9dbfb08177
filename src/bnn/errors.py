"""Errors of the package: each says what was given, what is allowed and what to do."""

from __future__ import annotations


class BnnError(Exception):
    """Base of every error that ``bnn`` raises on purpose."""


class ConfigError(BnnError, ValueError):
    """An argument or a :class:`bnn.BConfig` that cannot be used."""


class UnknownNameError(BnnError, LookupError):
    """A name that a :class:`bnn.registry.Registry` does not hold."""


class LayerNotFoundError(BnnError, LookupError):
    """A layer name or pattern that matches nothing in the model."""


class RecipeError(BnnError, ValueError):
    """A recipe that is malformed; the message names file, step and key."""


class CheckpointError(BnnError, ValueError):
    """A checkpoint that is missing, damaged, or made for something else."""


class DataError(BnnError, ValueError):
    """A data set that is missing, empty, or of the wrong form."""


class MissingExtraError(BnnError, ImportError):
    """A feature whose optional dependencies are not installed."""


class PackedError(BnnError, ValueError):
    """An argument that a 1-bit operation cannot take, or a layer that cannot be packed."""


class PackedFormatError(PackedError):
    """A packed file that is damaged, of another format, or not one that may be written."""


class NativePartError(BnnError, ImportError):
    """The compiled part of ``bnn`` is missing, or is another version's."""
