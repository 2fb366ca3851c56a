"""``python -m wsproxy``: the same program as the ``wsproxy`` command."""

import sys

from wsproxy.cli.main import main

sys.exit(main())
