"""A plugin whose own name is that of the core's."""

FLOWSTONE_API = 1
