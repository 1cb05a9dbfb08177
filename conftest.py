"""Settings of every test, doctests of src/ included."""

import os

import hypothesis
import pytest
import torch
from torch import nn

hypothesis.settings.register_profile("ci", derandomize=True, deadline=None)
hypothesis.settings.register_profile("dev", deadline=None)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "dev")


@pytest.fixture(autouse=True)
def _doctest_names(doctest_namespace):
    """Let examples in docstrings use torch and nn, as the reader's file would."""
    doctest_namespace.update(torch=torch, nn=nn)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)
