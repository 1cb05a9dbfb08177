"""``python -m bnn.cli``: the command where its script is not on the path."""

import sys

from bnn.cli import main

sys.exit(main())
