"""What holds for all tests."""

from hypothesis import settings

# How long an example takes is the machine's matter: a deadline would make tests fail on a busy one.
settings.register_profile("sftools", deadline=None)
settings.load_profile("sftools")
