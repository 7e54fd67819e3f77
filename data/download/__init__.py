"""Downloads of the training and evaluation data: `python -m data.download`."""
