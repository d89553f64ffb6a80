"""``python -m steering``"""

import sys

from steering.cli import main

sys.exit(main())
