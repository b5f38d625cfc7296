"""What users pass: texts, targets and pictures, checked and brought into one form."""
