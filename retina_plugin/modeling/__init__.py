"""The detector: backbones, necks, heads, anchors, assigners, post-processing, and how a config
builds them."""
