"""Plugin with the same name as one of the broken distribution."""

FLOWSTONE_API = 1
