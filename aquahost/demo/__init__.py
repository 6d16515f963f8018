"""Three tiny untrained models, made here without a download, so that everything can be tried at once."""
