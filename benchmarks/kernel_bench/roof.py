"""What the inner loop alone can do on this machine, measured beside the layers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from bnn.packed import runtime


class Roof:
    """The best that was seen so far: noise only ever slows a run down."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.gbops = 0.0

    @property
    def statement(self) -> str:
        """How it is measured."""
        loop = runtime.native().roof_loop(runtime.isa())
        return f"{loop}; {self.threads} thread(s), best of many runs of 20 us"

    def measure(self) -> None:
        """Measure again, on all threads at once."""
        native, isa = runtime.native(), runtime.isa()
        with ThreadPoolExecutor(self.threads) as pool:
            found = sum(pool.map(lambda _: native.roof(isa), range(self.threads)))
        self.gbops = max(self.gbops, found)
