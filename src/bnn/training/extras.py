"""Turn a missing optional library into one line that says what to install."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from bnn.errors import MissingExtraError


@contextlib.contextmanager
def needs_extra(extra: str, what: str) -> Iterator[None]:
    """Raise MissingExtraError if an import in the block fails.

    Args:
        extra: Name of the extra that brings the library.
        what: What needs it, the subject of the message.

    Raises:
        MissingExtraError: If a library is absent, or cannot be used beside this torch.

    Example:
        >>> with needs_extra("vision", "cifar10"):
        ...     import no_such_library
        Traceback (most recent call last):
        bnn.errors.MissingExtraError: cifar10 needs no_such_library, which is not installed. \
Run: pip install 'bnn-torch[vision]'
    """
    install = f"Run: pip install 'bnn-torch[{extra}]'"
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"{what} needs {error.name}, which is not installed. {install}"
        ) from error
    # A torchvision that was built for another torch fails so: "operator torchvision::nms does
    # not exist", and takes with it every library that tries to import it.
    except (ImportError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise MissingExtraError(
            f"{what} cannot use what is installed ({reason}). A torchvision made for another torch "
            f"causes this: install the one that fits, or remove it. {install}"
        ) from error
