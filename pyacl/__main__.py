"""``python -m pyacl`` is the command ``pyacl``."""

import sys

from .cli import main

sys.exit(main())
