"""COCO metrics and anchor coverage."""
