"""`aquahost doctor`: `gather` looks, `findings` judges, `shown` tells."""
