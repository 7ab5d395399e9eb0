"""The one error of this package."""


class CaptureError(ValueError):
    """A field was not found in what the step saw, or cannot be used. The message tells what was there."""
