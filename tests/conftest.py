"""How much Hypothesis tries: the environment's WSPROXY_HYPOTHESIS=soak makes it 2,000 examples a test.

A test that asks for its own number takes the larger of the two.
"""

import os

from hypothesis import settings

# No deadlines: an example takes as long as a busy machine lets it; what must be fast is measured elsewhere.
settings.register_profile("unhurried", deadline=None)
settings.register_profile("soak", deadline=None, max_examples=2_000)
settings.load_profile("soak" if os.environ.get("WSPROXY_HYPOTHESIS") == "soak" else "unhurried")
