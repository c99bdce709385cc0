"""Is no Python."""

FLOWSTONE_API = = 1
