"""COCO metrics, notes about them, and anchor coverage."""
