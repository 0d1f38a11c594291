"""How an emulator is fitted, studied and compared."""
