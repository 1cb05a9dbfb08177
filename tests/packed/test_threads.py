"""Threads: the native part's own, and many of Python's at once."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

import bnn
from bnn.errors import ConfigError
from bnn.packed import Epilogue, functional, layout, panels, runtime
from bnn.packed.shapes import ConvShape


@pytest.fixture(autouse=True)
def _same_threads_afterwards():
    before = bnn.get_num_threads()
    yield
    bnn.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_any_number_gives_the_same(threads, isa, signs, values, same):
    x, weight = signs(2, 100, 20, 20), signs(129, 100, 3, 3)
    epilogue = Epilogue(scale=values(129, specials=False), first_activation="hardtanh")

    def run():
        words = functional.pack(x)
        out = functional.bconv2d(
            words,
            functional.pack(weight),
            100,
            padding=1,
            epilogue=epilogue,
            output="float_and_bits",
        )
        pooled = functional.max_pool2d(out[1], 129, 3, 2, 1)
        return [words, *out, pooled, functional.unpack(pooled, 129)]

    bnn.set_num_threads(1)
    expected = run()
    bnn.set_num_threads(threads)
    assert bnn.get_num_threads() == threads
    for given, wanted in zip(run(), expected, strict=True):
        same(given, wanted)


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_many_python_threads_at_once(threads, isa, signs):
    bnn.set_num_threads(threads)
    shared = layout.pack(signs(70, 65, 3, 3))
    inputs = [signs(2, 65, 12, 12, seed=i) for i in range(16)]

    def run(x):
        bits = functional.pack(x)
        for _ in range(3):
            sums, bits = functional.bconv2d(bits, shared, 65, padding=1, output="float_and_bits")
            own = functional.pack(sums)
            bits = functional.max_pool2d(own, 70, 3, 1, 1)[..., :2]
            bits = functional.pack(functional.unpack(bits, 70)[:, :65])
        return sums, functional.global_avg_pool(bits, 65)

    expected = [run(x) for x in inputs]
    panels._ENTRIES.clear()  # all threads want the same panel first
    with ThreadPoolExecutor(8) as pool:
        for _ in range(4):
            for given, wanted in zip(pool.map(run, inputs), expected, strict=True):
                assert torch.equal(given[0], wanted[0])
                assert torch.equal(given[1], wanted[1])


def test_python_runs_while_the_native_part_computes():
    size, portable = 3072, runtime.ISAS.index("portable")
    shape = ConvShape(size, 1, 1, size, size, 1, 1)
    words = torch.zeros(size, size // 64, dtype=torch.int64)
    out = torch.empty(size, size, dtype=torch.int32)
    panel = runtime.make_panel(shape, words, portable)
    bnn.set_num_threads(1)
    times = []

    def compute():
        times.append(time.perf_counter())
        runtime.bconv2d(shape, words, words, panel, Epilogue(), out_int32=out, isa=portable)
        times.append(time.perf_counter())

    thread = threading.Thread(target=compute)
    thread.start()
    meanwhile = []
    while thread.is_alive():
        meanwhile.append(time.perf_counter())
        time.sleep(1e-3)
    begin, end = times
    assert out.unique().tolist() == [size]
    # With the lock held there would be none between the first and the last instant.
    assert sum(begin < now < end for now in meanwhile) > 3


def test_workers_sleep_between_operations():
    bnn.set_num_threads(4)
    weight = torch.zeros(512, 8, dtype=torch.int64)
    functional.blinear(torch.zeros(512, 8, dtype=torch.int64), weight, 512)
    time.sleep(0.1)
    before = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - before < 0.1


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", None, 2**40])
def test_set_num_threads_says_what_is_wrong(threads):
    with pytest.raises(ConfigError, match="set_num_threads: threads is .*; give an int from 1 to"):
        bnn.set_num_threads(threads)


def test_beside_threads_of_torch(signs, same):
    x, weight = signs(4, 64, 28, 28), signs(64, 64, 3, 3)
    words, filters = functional.pack(x), functional.pack(weight)
    for _ in range(3):
        sums = functional.bconv2d(words, filters, 64, padding=1)
        same(sums, torch.nn.functional.conv2d(x, weight, padding=1))
