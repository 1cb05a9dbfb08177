"""Run Larq's side of docs/how-to/migrate-from-larq.md; write what it saves to a folder.

Runs where TensorFlow and Larq are: see the Makefile's larq-parity. tests/docs/test_migration.py
loads the files into the page's other side; those that it finds were written by

    python benchmarks/larq_parity/guide.py tests/data/larq_guide
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "migrate-from-larq.md"
BLOCK = re.compile(r'^```python title="needs Larq"\n(.*?)^```$', re.MULTILINE | re.DOTALL)


def main(folder: Path) -> None:
    """Run the page's blocks one after the other, in the folder."""
    blocks = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    import tf_keras

    tf_keras.utils.set_random_seed(0)
    namespace: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), namespace)  # noqa: S102 - our own page
    (Path.cwd() / "larq.tflite").unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
