"""Engines: what turns prompts into text, images and sounds. `engine` is the seam; `registry` picks one by kind."""
