"""How an emulator is used: forecasts, verification, pictures and reports."""
