"""A month of a synthetic fleet's delivery logs, counted night by night, and how good the forecasts then are."""
