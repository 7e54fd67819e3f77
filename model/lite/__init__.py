"""The built-in model: small, English, torch-free."""
