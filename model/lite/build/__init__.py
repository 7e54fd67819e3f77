"""The one-time making of the weights that `lite` and `ocr` run; nothing that runs later imports it."""
