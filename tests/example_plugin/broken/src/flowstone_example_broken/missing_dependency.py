"""Needs something that is not installed."""

import flowstone_example_dependency

FLOWSTONE_API = flowstone_example_dependency.API
