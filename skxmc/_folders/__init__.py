"""The folder of a saved model: what is in it, how it is checked, how it takes its place."""
