import subprocess
import sys
from pathlib import Path

import pytest


def python(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_names_that_need_no_extra_work_without_it():
    said = python(
        "import sys\n"
        "for name in ('lightning', 'lightning.pytorch', 'torchmetrics', 'sklearn', 'matplotlib',\n"
        "             'tensorboard', 'torchvision', 'mlxtend'):\n"
        "    sys.modules[name] = None\n"
        "import bnn.training\n"
        "from bnn.training import *\n"
        "from bnn.training import TrainConfig, clamp_latent_weights_, fit, load_data\n"
        "import bnn, torch\n"
        "clamp_latent_weights_(torch.nn.Linear(2, 2))\n"
        "def attempt(call, *args):\n"
        "    try:\n"
        "        call(*args)\n"
        "    except bnn.errors.MissingExtraError as error:\n"
        "        print(error)\n"
        "attempt(fit, TrainConfig(out='/nonexistent/folder'))\n"
        "attempt(load_data, 'digits')\n"
        "attempt(load_data, 'mnist5k')\n"
    ).splitlines()
    assert [line.split("Run: ")[1] for line in said] == [
        "pip install 'bnn-torch[train]'",
        "pip install 'bnn-torch[train]'",
        "pip install 'bnn-torch[mnist]'",
    ]


def test_nothing_heavy_is_imported_before_it_is_used():
    said = python(
        "import sys, bnn\n"
        "print('bnn.training' in sys.modules)\n"
        "import bnn.training\n"
        "from bnn.training import TrainConfig, load_checkpoint, DATASETS\n"
        "heavy = {'lightning', 'torchmetrics', 'sklearn', 'matplotlib', 'tensorboard', 'mlxtend'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    assert said.split("\n")[:2] == ["False", "[]"]


def test_names():
    import bnn.training

    for name in bnn.training.__all__:
        assert getattr(bnn.training, name) is getattr(bnn.training, name)
        assert name in dir(bnn.training)
    # No file may have the name of a function: importing it would put the file in its place.
    files = {path.stem for path in Path(bnn.training.__file__).parent.iterdir()}
    assert not files & set(bnn.training.__all__)
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        _ = bnn.training.fitt
