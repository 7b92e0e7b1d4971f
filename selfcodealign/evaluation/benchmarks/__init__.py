"""One file per benchmark: where its data is, how a model is asked, what its program is and how it is judged."""
