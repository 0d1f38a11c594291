"""What every emulator stands on: constants, time steps and configurations."""
