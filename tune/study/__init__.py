"""A study: asked for, its data loaded, its folder begun or resumed."""
