"""The one-time conversion of published weights to what `lite` runs."""
