"""Plugin with a missing dependency."""

import flowstone_example_dependency

FLOWSTONE_API = flowstone_example_dependency.API
