"""Keep Lightning's banners off, and those of its warnings that say nothing here."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator

# Starts of messages, as regular expressions. Everything else that Lightning warns of is shown.
_IRRELEVANT = (
    r".*does not have many workers which may be a bottleneck",  # data in memory
    r".*`isinstance\(treespec, LeafSpec\)` is deprecated",  # Lightning against newer torch
    r".*sync_dist=True.* when logging on epoch level in distributed",  # torchmetrics does it
    r"Grad strides do not match bucket view strides",  # DDP, of weights with one input channel
)
_BANNERS = ("lightning.pytorch", "lightning.fabric", "lightning_fabric", "pytorch_lightning")


@contextlib.contextmanager
def quiet_lightning() -> Iterator[None]:
    """Show of Lightning only warnings that matter; put everything back afterwards."""
    loggers = [logging.getLogger(name) for name in _BANNERS]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        for message in _IRRELEVANT:
            warnings.filterwarnings("ignore", message=message)
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
