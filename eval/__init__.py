"""How accurate a matcher is, with the protocol beside every number: `python -m eval --help`."""
