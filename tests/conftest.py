"""What all tests share."""

from hypothesis import settings

# How long an example takes says nothing of whether it is right: caches fill during the first.
settings.register_profile("eventdiff", deadline=None)
settings.load_profile("eventdiff")
