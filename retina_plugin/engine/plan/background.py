"""Decide whether images without objects are trained."""

from __future__ import annotations

from retina_plugin.engine.plan.given import Given, given_entry
from retina_plugin.engine.plan.plan import Entry
from retina_plugin.engine.plan.profile import DataProfile

FILTER = "DATALOADER.FILTER_EMPTY_ANNOTATIONS"
# Images without objects teach what is none, but they take steps from the images with objects. Up to
# this share of the images they take at most a fifth of the time; Ultralytics advises up to 10%.
MOST_BACKGROUND = 0.2


def trains_background(profile: DataProfile, given: Given) -> bool:
    """Return whether images without objects are trained.

    Args:
        profile: profile of all training images.
        given: the values on the command line.
    """
    if FILTER in given:
        return not given[FILTER]
    return profile.num_background <= MOST_BACKGROUND * profile.num_images


def background_entries(profile: DataProfile, given: Given) -> list[Entry]:
    """Set whether images without objects are trained, if there are any.

    Args:
        profile, given: see :func:`trains_background`.
    """
    number, images = profile.num_background, profile.num_images
    if not number:
        return []
    trained = trains_background(profile, given)
    facts = f"{number} of {images} images have no objects"
    if FILTER in given:
        facts += " and are trained" if trained else " and are left out"
        return [given_entry(FILTER, given[FILTER], facts)]
    why = "they are trained, because they teach what is no object"
    if not trained:
        why = (
            f"more than {MOST_BACKGROUND:.0%} would take the time from those with objects, so they "
            "are left out"
        )
    return [Entry(FILTER, not trained, f"{facts}: {why}", printed=True)]
