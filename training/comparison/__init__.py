"""A comparison is planned, trained, forecast and ranked here, from its configuration to its files."""
