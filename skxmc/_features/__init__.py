"""Numbers that describe documents and labels: blocks of features, and what is made of them."""
