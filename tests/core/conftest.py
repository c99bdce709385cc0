"""What all tests of the core share."""

import hypothesis

# A busy machine makes an example slow, not wrong.
hypothesis.settings.register_profile("flowstone", deadline=None)
hypothesis.settings.load_profile("flowstone")
