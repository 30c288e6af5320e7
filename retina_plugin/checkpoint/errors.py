"""The error of this package."""


class WeightsError(ValueError):
    """A checkpoint cannot be used. The message names the file, the problem and what to do."""
