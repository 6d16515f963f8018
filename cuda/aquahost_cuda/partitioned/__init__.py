"""The functions of a driver whose every GPU appears as several smaller ones."""
