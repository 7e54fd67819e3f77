"""`python -m data.download`."""

import sys

from data.download.download import main

sys.exit(main())
