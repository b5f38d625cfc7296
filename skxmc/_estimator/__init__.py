"""What both estimators are made of."""
