"""``python -m bench.faults`` runs ``table``."""

import sys

from bench.faults.table import main

sys.exit(main())
