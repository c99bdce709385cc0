"""Plugin whose import fails an assertion, which stevedore would let end the discovery."""

raise AssertionError("this module needs a GPU")
