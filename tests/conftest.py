"""Fixtures that every suite may ask for."""

from hypothesis import settings

# No test asserts a time: a busy machine is not a bug.
settings.register_profile("default", deadline=None)
settings.register_profile("soak", deadline=None, max_examples=5000)
settings.load_profile("default")

pytest_plugins = ["tests.alone", "tests.origin"]
