"""Plugin with the same name as one of the rival; valid when installed alone."""

FLOWSTONE_API = 1
