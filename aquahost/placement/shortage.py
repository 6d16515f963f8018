"""What is short"""

from aquahost.errors import ConfigError


def refuse_impossible(parts, fleet):
    pass


def does_not_fit(parts, fleet):
    return ConfigError("x")
