"""A run is fitted, resumed, budgeted and repeated over configurations and seeds here."""
