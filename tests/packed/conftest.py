"""Fixtures: every test that takes ``isa`` runs once with the kernels of each instruction set."""

import hashlib
import json
from typing import Any, NamedTuple

import pytest
import torch

from bnn.packed import runtime

# Around the edges of words and of the kernels' blocks.
CHANNELS = (1, 3, 31, 32, 33, 63, 64, 65, 100, 127, 128, 129)


@pytest.fixture(scope="module", params=runtime.ISAS)
def isa(request):
    """Force an instruction set for the operators; skip what this CPU does not run."""
    if request.param not in runtime.available_isas():
        pytest.skip(f"{request.param}: this CPU does not run it")
    number = runtime.ISAS.index(request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtime, "isa", lambda: number)
        yield number


@pytest.fixture(scope="session")
def signs():
    """Return ``signs(*shape, seed=0)``: random -1 and +1."""

    def make(*shape, seed=0):
        generator = torch.Generator().manual_seed(seed)
        return torch.randint(0, 2, shape, generator=generator) * 2.0 - 1

    return make


@pytest.fixture(scope="session")
def values():
    """Return ``values(*shape, seed=0)``: random floats, some of them special."""
    special = torch.tensor([0.0, -0.0, torch.nan, torch.inf, -torch.inf, 1e-45, -1e-45, 1.0, -1.0])

    def make(*shape, seed=0, specials=True):
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(shape, generator=generator)
        if not specials:
            return x
        which = torch.randint(0, len(special), shape, generator=generator)
        rare = torch.rand(shape, generator=generator) < 0.2
        return torch.where(rare, special[which], x)

    return make


@pytest.fixture(scope="session")
def same():
    """Return a function that asserts equality to the last bit; NaN equals NaN."""

    def check(given, expected):
        assert given.dtype == expected.dtype
        torch.testing.assert_close(given, expected, rtol=0, atol=0, equal_nan=True)

    return check


class PackedParts(NamedTuple):
    """A packed file taken apart: the graph's JSON, the header without it, and the tensors."""

    document: Any
    header: dict[str, Any]
    data: bytes

    @classmethod
    def of(cls, content):
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        document = json.loads(header.pop("__metadata__")["bnn"])
        return cls(document, header, content[8 + length :])

    def join(self, document=None, text=None):
        """Return a file with the right digest, whatever else is wrong."""
        text = json.dumps(self.document if document is None else document) if text is None else text
        metadata = {"bnn": text, "digest": "0" * 64}
        raw = json.dumps({"__metadata__": metadata, **self.header}, separators=(",", ":")).encode()
        return sealed(raw, self.data)


def sealed(header, data):
    """Return a file of these bytes with the digest of them."""
    header += b" " * (-len(header) % 8)
    content = len(header).to_bytes(8, "little") + header + data
    zeros = b'"digest":"' + b"0" * 64
    digest = hashlib.sha256(content).hexdigest().encode()
    return content.replace(zeros, b'"digest":"' + digest, 1)


@pytest.fixture(scope="session")
def parts():
    return PackedParts.of


@pytest.fixture(scope="session")
def seal():
    return sealed
