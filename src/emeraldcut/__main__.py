"""`python -m emeraldcut` is `emeraldcut`."""

import sys

from emeraldcut.cli import main

sys.exit(main())
