"""Fixtures that every suite may ask for."""

from hypothesis import settings

# No test asserts a time: a busy machine is not a bug.
settings.register_profile("default", deadline=None)
settings.register_profile("soak", deadline=None, max_examples=5000)
settings.load_profile("default")

pytest_plugins = ["tests.alone", "tests.origin"]


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Binary names no test: gzip has the time in it, and two workers must find the same tests."""
    return argname if isinstance(val, bytes) and not (val.isascii() and val.decode().isprintable()) else None
