"""How much Hypothesis tries: the environment's WSPROXY_HYPOTHESIS=soak makes it 2,000 examples a test.

A test that asks for its own number takes the larger of the two.
"""

import os

from hypothesis import settings

settings.register_profile("soak", max_examples=2_000)
if os.environ.get("WSPROXY_HYPOTHESIS") == "soak":
    settings.load_profile("soak")
