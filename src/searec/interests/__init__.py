"""Interests ahead of need: graphs of what users may want, who reasons about them, where they are kept and how they stay fresh."""
