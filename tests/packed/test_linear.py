"""The binary linear layer: a matrix product of bits."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bnn.errors import PackedError
from bnn.packed import Epilogue, functional, layout

SEEDS = st.integers(0, 2**32)
sizes = st.integers(1, 20)
features = st.one_of(st.integers(1, 200), st.sampled_from((511, 512, 513, 1024, 4097)))


@settings(max_examples=60)
@given(m=sizes, n=sizes, k=features, seed=SEEDS)
def test_layout_equals_matmul(m, n, k, seed, signs, same):
    a, b = signs(m, k, seed=seed), signs(n, k, seed=seed + 1)
    same(layout.bgemm(layout.pack(a), layout.pack(b), k), (a @ b.T).to(torch.int32))


@settings(max_examples=60)
@given(m=st.integers(0, 40), n=st.integers(1, 70), k=features, seed=SEEDS)
def test_products(isa, m, n, k, seed, signs, same):
    a, b = (layout.pack(signs(rows, k, seed=seed + rows)) for rows in (m, n))
    same(functional.blinear(a, b, k, output="int32"), layout.bgemm(a, b, k))


@pytest.mark.parametrize("k", [32767, 32768, 65535, 65536, 65537, 131072 + 63, 1048576 + 1])
@pytest.mark.parametrize("m", [1, 9])
def test_sums_beyond_sixteen_bits(isa, k, m):
    a, b = torch.ones(m, k), torch.ones(3, k)
    b[1] = -1
    b[2, : k // 2] = -1
    given_ = functional.blinear(functional.pack(a), functional.pack(b), k, output="int32")
    assert given_.tolist() == [[k, -k, k % 2]] * m


def test_leading_axes(isa, signs, same):
    a, b = functional.pack(signs(24, 100)), functional.pack(signs(65, 100, seed=1))
    flat = functional.blinear(a, b, 100, output="float_and_bits")
    for lead in ((), (4, 6), (2, 3, 4), (24, 0), (0,)):
        x = a[0] if lead == () else a.expand(24, -1)[: torch.Size(lead).numel()].view(*lead, 2)
        out, bits = functional.blinear(x, b, 100, output="float_and_bits")
        assert out.shape == (*lead, 65)
        assert bits.shape == (*lead, 2)
        same(out.flatten(), flat[0][: torch.Size(lead).numel()].flatten())
        same(bits.flatten(), flat[1][: torch.Size(lead).numel()].flatten())


def test_residual(isa, signs, values, same):
    a, b = functional.pack(signs(6, 100)), functional.pack(signs(65, 100, seed=1))
    residual = values(2, 3, 65)
    out = functional.blinear(
        a.view(2, 3, 2),
        b,
        100,
        residual=residual,
        epilogue=Epilogue(residual_at="after_activation"),
    )
    same(out, layout.bgemm(a, b, 100).view(2, 3, 65) + residual)


@pytest.mark.parametrize(
    ("x", "weight", "said"),
    [
        (torch.zeros(2, 1, dtype=torch.int64), torch.zeros(2, dtype=torch.int64), "(O, words)"),
        (torch.tensor(1), torch.zeros(2, 1, dtype=torch.int64), "x has no axis"),
        (torch.zeros(2, 2, dtype=torch.int64), torch.zeros(2, 1, dtype=torch.int64), "2 words"),
        (torch.zeros(2, 1), torch.zeros(2, 1, dtype=torch.int64), "x is torch.float32"),
    ],
)
def test_says_what_is_wrong(x, weight, said):
    with pytest.raises(PackedError) as caught:
        functional.blinear(x, weight, 50)
    assert said in str(caught.value)
