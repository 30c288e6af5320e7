"""The registry of importers; the content of a path chooses the importer."""

from __future__ import annotations

from retina_plugin.config.registry import Registry

IMPORTERS = Registry("importer", choice_key="the content of DATASETS.TRAIN and DATASETS.TEST")
