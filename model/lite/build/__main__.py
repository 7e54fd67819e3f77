"""`python -m model.lite.build`: `sightline setup` without the command."""

import sys

from model.lite.build.install import main

sys.exit(main())
