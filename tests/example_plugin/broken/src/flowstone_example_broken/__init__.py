"""Broken plugins: each module is a plugin with one fault."""
