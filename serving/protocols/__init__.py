"""The wire formats that a model server speaks; each translates to and from the one predictor."""
