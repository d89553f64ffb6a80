"""``python -m oca``"""

import sys

from oca.cli import main

sys.exit(main())
