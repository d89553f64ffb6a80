"""``python -m fill``."""

import sys

from fill.cli import main

sys.exit(main())
